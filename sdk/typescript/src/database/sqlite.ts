import type { Database, Parameter } from "./database.js";

/** A prepared statement of SQLite. */
export interface SqliteStatement {
  all(...parameters: Parameter[]): unknown[];
  run(...parameters: Parameter[]): { changes: number | bigint };
}

/** A connection to SQLite: a database of better-sqlite3, of node:sqlite or of libsql. */
export interface SqliteConnection {
  exec(sql: string): unknown;
  prepare(sql: string): SqliteStatement;
}

/** The end of the last transaction of each connection. */
const ends = new WeakMap<object, Promise<void>>();

/**
 * Returns the SQLite database of a connection. Its transactions run one after another. A statement of the program that runs
 * while the work of a transaction awaits something is part of that transaction, so that the work should await nothing. Set a
 * busy timeout if other processes use the database.
 */
export function sqlite<Connection extends SqliteConnection>(connection: Connection): Database<Connection> {
  return {
    dialect: "sqlite",
    statements: (db) => ({
      rows: (sql, parameters) => attempt(() => db.prepare(sql).all(...parameters) as Record<string, unknown>[]),
      run: (sql, parameters) => attempt(() => Number(db.prepare(sql).run(...parameters).changes)),
      script: (sql) => attempt(() => { db.exec(sql); }),
    }),
    transaction: async (run) => await exclusively(connection, async () => {
      connection.exec("BEGIN IMMEDIATE");
      try {
        const result = await run(connection);
        connection.exec("COMMIT");
        return result;
      } catch (error) {
        try {
          connection.exec("ROLLBACK");
        } catch {
          // SQLite has rolled the transaction back already.
        }
        throw error;
      }
    }),
  };
}

/** Returns the result of a call, or a promise that is rejected with its error. */
async function attempt<T>(run: () => T): Promise<T> {
  return await Promise.resolve().then(run);
}

/** Runs a function after the earlier transactions of a connection. */
async function exclusively<T>(connection: object, run: () => Promise<T>): Promise<T> {
  const result = (ends.get(connection) ?? Promise.resolve()).then(run);
  ends.set(connection, result.then(() => undefined, () => undefined));
  return await result;
}
