// The databases of the tests of the inbox and the outbox.
import { randomBytes } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestContext } from "node:test";

import { drizzle as drizzleDatabase } from "@goconductor/sdk/drizzle";
import {
  type Database, mysql, postgres, prisma, type PrismaClient, type PrismaTransaction, sqlite,
} from "@goconductor/sdk/inbox";
import { PrismaPg } from "@prisma/adapter-pg";
import { drizzle as drizzleMysql } from "drizzle-orm/mysql2";
import { drizzle } from "drizzle-orm/node-postgres";
import Libsql from "libsql";
import { createPool, type Pool as MysqlPool } from "mysql2/promise";
import { Pool, type PoolClient } from "pg";

/** The client that `npm run generate:prisma` writes, a CommonJS module of the schema in the folder prisma. */
const generated = createRequire(import.meta.url)("../prisma/index.js") as {
  PrismaClient: new (options: object) => PrismaClient<PrismaTransaction> & { $disconnect(): Promise<void> };
};

/** Hides the transaction of a database, which the tests pass on unseen. */
function opaque<Tx>(database: Database<Tx>): Database<never> {
  return database as unknown as Database<never>;
}

const name = (): string => `test_${randomBytes(8).toString("hex")}`;

/** Returns the address of a server. Without it, the test is skipped, unless services are required. */
function address(t: TestContext, variable: string): string | undefined {
  const value = process.env[variable];
  if (value === undefined || value === "") {
    if (process.env["GOCONDUCTOR_TEST_REQUIRE_SERVICES"] === "1") {
      throw new Error(`${variable} is not set`);
    }
    t.skip(`${variable} is not set`);
    return undefined;
  }
  return value;
}

async function onSqlite(t: TestContext): Promise<Database<never>> {
  const folder = await mkdtemp(join(tmpdir(), "goconductor-"));
  const db = new Libsql(join(folder, "participant.db"), { timeout: 30_000 });
  db.pragma("journal_mode = WAL");
  t.after(async () => {
    db.close();
    await rm(folder, { recursive: true });
  });
  return opaque(sqlite(db));
}

/** A pool, and the options of its connections. */
interface Connections {
  pool: Pool;
  options: { connectionString: string; max: number; options: string };
}

/** Returns a pool with an empty schema that is dropped at the end of the test. */
async function postgresPool(t: TestContext): Promise<Connections | undefined> {
  const url = address(t, "GOCONDUCTOR_TEST_POSTGRES_URL");
  if (url === undefined) {
    return undefined;
  }
  const schema = name();
  const options = { connectionString: url, max: 16, options: `-c search_path=${schema}` };
  const pool = new Pool(options);
  await pool.query(`CREATE SCHEMA ${schema}`);
  t.after(async () => {
    await pool.query(`DROP SCHEMA ${schema} CASCADE`);
    await pool.end();
  });
  return { pool, options };
}

async function onPostgres(t: TestContext): Promise<Database<never> | undefined> {
  const connections = await postgresPool(t);
  return connections && opaque(postgres<PoolClient>(connections.pool));
}

async function onDrizzle(t: TestContext): Promise<Database<never> | undefined> {
  const connections = await postgresPool(t);
  return connections && opaque(drizzleDatabase(drizzle(connections.pool), "postgres"));
}

async function onPrisma(t: TestContext): Promise<Database<never> | undefined> {
  const connections = await postgresPool(t);
  if (connections === undefined) {
    return undefined;
  }
  const { pool, options } = connections;
  // Many concurrent transactions wait for a connection.
  const client = new generated.PrismaClient({
    adapter: new PrismaPg(options),
    transactionOptions: { maxWait: 120_000, timeout: 120_000 },
  });
  t.after(() => client.$disconnect());
  const database = prisma(client, "postgres");
  const statements = (tx: PrismaTransaction) => ({
    ...database.statements(tx),
    // Prisma runs no scripts. A migration runs them outside its client.
    script: async (sql: string) => { await pool.query(sql); },
  });
  return opaque({ ...database, statements });
}

/** Returns a pool with an empty database that is dropped at the end of the test. */
async function mysqlPool(t: TestContext): Promise<MysqlPool | undefined> {
  const source = address(t, "GOCONDUCTOR_TEST_MYSQL_DSN");
  if (source === undefined) {
    return undefined;
  }
  // The address has the form of the Go driver.
  const [, user, password, host, port] = /^([^:]*):(.*)@tcp\(([^:]*):(\d+)\)\//.exec(source) ?? [];
  if (user === undefined || password === undefined || host === undefined) {
    throw new Error("GOCONDUCTOR_TEST_MYSQL_DSN must have the form user:password@tcp(host:port)/");
  }
  const server = { user, password, host, port: Number(port) };
  const database = name();
  const admin = createPool({ ...server, connectionLimit: 1 });
  await admin.query(`CREATE DATABASE ${database}`);
  const pool = createPool({ ...server, database, connectionLimit: 16 });
  t.after(async () => {
    await pool.end();
    await admin.query(`DROP DATABASE ${database}`);
    await admin.end();
  });
  return pool;
}

async function onMysql(t: TestContext): Promise<Database<never> | undefined> {
  const pool = await mysqlPool(t);
  return pool && opaque(mysql(pool));
}

async function onDrizzleMysql(t: TestContext): Promise<Database<never> | undefined> {
  const pool = await mysqlPool(t);
  return pool && opaque(drizzleDatabase(drizzleMysql(pool), "mysql"));
}

/** The databases by name. */
export const databases = {
  sqlite: onSqlite,
  postgres: onPostgres,
  mysql: onMysql,
  drizzle: onDrizzle,
  "drizzle on mysql": onDrizzleMysql,
  prisma: onPrisma,
};

/** Returns a statement with the marks of the parameters of a dialect. It is written with `?`. */
export function marked(database: Database<never>, statement: string): string {
  let number = 0;
  return database.dialect === "postgres" ? statement.replaceAll("?", () => `$${++number}`) : statement;
}
