import { misuse } from "../errors.js";
import type { Database, Dialect, Row } from "./database.js";

/** A transaction of Prisma. */
export interface PrismaTransaction {
  $queryRawUnsafe(sql: string, ...parameters: unknown[]): PromiseLike<unknown>;
  $executeRawUnsafe(sql: string, ...parameters: unknown[]): PromiseLike<number>;
}

/** A client of Prisma. */
export interface PrismaClient<Tx> {
  $transaction<T>(run: (tx: Tx) => Promise<T>, options?: { timeout?: number; isolationLevel?: never }): Promise<T>;
}

/** The options of {@link prisma}. */
export interface PrismaOptions {
  /** The timeout of a transaction (default: that of Prisma, 5 seconds). */
  timeoutMs?: number;
}

/**
 * Returns the database of a client of Prisma. Add the SQL of the package, such as `sql/inbox/postgres.sql`, to a migration of
 * Prisma: `migrate` is refused, because Prisma runs no scripts of several statements.
 */
export function prisma<Tx extends PrismaTransaction>(
  client: PrismaClient<Tx>, dialect: Dialect, options: PrismaOptions = {},
): Database<Tx> {
  return {
    dialect,
    statements: (tx) => ({
      rows: async (sql, parameters) => await tx.$queryRawUnsafe(sql, ...parameters) as Row[],
      run: async (sql, parameters) => await tx.$executeRawUnsafe(sql, ...parameters),
      script: () => Promise.reject(
        misuse("Prisma runs no scripts: add the SQL in the folder sql of the package to a migration of Prisma"),
      ),
    }),
    transaction: async (run, { readCommitted = false } = {}) => await client.$transaction(run, {
      ...options.timeoutMs === undefined ? {} : { timeout: options.timeoutMs },
      // Each generated client has an enum of its own, with this name of the level.
      ...readCommitted && dialect === "mysql" ? { isolationLevel: "ReadCommitted" as never } : {},
    }),
  };
}
