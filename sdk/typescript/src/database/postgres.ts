import type { Database } from "./database.js";

/** A client of node-postgres. */
export interface PostgresClient {
  query(sql: string, parameters?: unknown[]): Promise<{ rows: unknown[]; rowCount: number | null }>;
  release(destroy?: Error | boolean): void;
  on(event: "error", listener: (error: Error) => void): unknown;
  removeListener(event: "error", listener: (error: Error) => void): unknown;
}

/** A pool of node-postgres. */
export interface PostgresPool<Client> {
  connect(): Promise<Client>;
}

/** Returns a PostgreSQL database that a pool of node-postgres connects to. */
export function postgres<Client extends PostgresClient>(pool: PostgresPool<Client>): Database<Client> {
  return {
    dialect: "postgres",
    statements: (client) => ({
      rows: async (sql, parameters) => (await client.query(sql, [...parameters])).rows as Record<string, unknown>[],
      run: async (sql, parameters) => (await client.query(sql, [...parameters])).rowCount ?? 0,
      script: async (sql) => { await client.query(sql); },
    }),
    transaction: async (run) => {
      const client = await pool.connect();
      let broken: Error | undefined;
      // A pool leaves the errors of its clients in use to their users. An error without a listener would end the process.
      const listener = (error: Error): void => { broken = error; };
      client.on("error", listener);
      try {
        await client.query("BEGIN");
        const result = await run(client);
        await client.query("COMMIT");
        return result;
      } catch (error) {
        try {
          await client.query("ROLLBACK");
        } catch (cause) {
          broken = cause as Error;
        }
        throw error;
      } finally {
        client.removeListener("error", listener);
        client.release(broken);
      }
    },
  };
}
