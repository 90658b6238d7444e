/**
 * The database of the inbox and the outbox for Drizzle.
 *
 * @packageDocumentation
 */
import { type SQL, sql } from "drizzle-orm";

import type { Database, Dialect, Parameter, Row } from "./database/database.js";

/** A transaction of Drizzle. */
export interface DrizzleTransaction {
  execute(query: SQL): PromiseLike<unknown>;
}

/** A database of Drizzle whose driver is asynchronous: node-postgres or mysql2. */
export interface DrizzleDatabase<Tx> {
  transaction<T>(run: (tx: Tx) => Promise<T>, config?: { isolationLevel: "read committed" }): Promise<T>;
}

/** Returns the database of Drizzle. For SQLite, use `sqlite` with the connection of Drizzle. */
export function drizzle<Tx extends DrizzleTransaction>(
  db: DrizzleDatabase<Tx>, dialect: Exclude<Dialect, "sqlite">,
): Database<Tx> {
  return {
    dialect,
    statements: (tx) => ({
      rows: async (text, parameters) => rowsOf(await tx.execute(statement(text, parameters))),
      run: async (text, parameters) => affectedBy(await tx.execute(statement(text, parameters))),
      script: async (text) => { await tx.execute(sql.raw(text)); },
    }),
    transaction: async (run, { readCommitted = false } = {}) =>
      await db.transaction(run, readCommitted && dialect === "mysql" ? { isolationLevel: "read committed" } : undefined),
  };
}

/** Replaces the marks of the parameters, `$1` or `?`, by parameters of Drizzle. They are in order. */
function statement(text: string, parameters: readonly Parameter[]): SQL {
  const parts = text.split(/\$\d+|\?/);
  return sql.join(parts.flatMap((part, index) => {
    const parameter = parameters[index];
    return parameter === undefined ? [sql.raw(part)] : [sql.raw(part), sql`${parameter}`];
  }));
}

/** node-postgres returns an object with the rows, and mysql2 a list whose first element has them. */
function rowsOf(result: unknown): Row[] {
  return (Array.isArray(result) ? result[0] : (result as { rows: unknown }).rows) as Row[];
}

function affectedBy(result: unknown): number {
  return Array.isArray(result)
    ? (result[0] as { affectedRows?: number }).affectedRows ?? 0
    : (result as { rowCount: number | null }).rowCount ?? 0;
}
