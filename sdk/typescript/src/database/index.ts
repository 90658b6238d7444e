export type { Database, Dialect, Parameter, Row, Statements, TransactionOptions } from "./database.js";
export { mysql, type MysqlConnection, type MysqlPool } from "./mysql.js";
export { postgres, type PostgresClient, type PostgresPool } from "./postgres.js";
export { prisma, type PrismaClient, type PrismaOptions, type PrismaTransaction } from "./prisma.js";
export { sqlite, type SqliteConnection, type SqliteStatement } from "./sqlite.js";
