import type { Database } from "./database.js";

/** A connection of mysql2/promise. */
export interface MysqlConnection {
  query(sql: string): Promise<[unknown, unknown]>;
  execute(sql: string, parameters: (string | number)[]): Promise<[unknown, unknown]>;
  beginTransaction(): Promise<void>;
  commit(): Promise<void>;
  rollback(): Promise<void>;
  release(): void;
  destroy(): void;
}

/** A pool of mysql2/promise. */
export interface MysqlPool<Connection> {
  getConnection(): Promise<Connection>;
}

/** Returns a database of MySQL 8, or of MariaDB 10.6 or later, that a pool of mysql2/promise connects to. */
export function mysql<Connection extends MysqlConnection>(pool: MysqlPool<Connection>): Database<Connection> {
  return {
    dialect: "mysql",
    statements: (connection) => ({
      rows: async (sql, parameters) => (await connection.execute(sql, [...parameters]))[0] as Record<string, unknown>[],
      run: async (sql, parameters) => {
        const [result] = await connection.execute(sql, [...parameters]);
        return (result as { affectedRows: number }).affectedRows;
      },
      script: async (sql) => { await connection.query(sql); },
    }),
    transaction: async (run, options = {}) => {
      const connection = await pool.getConnection();
      let end = (): void => { connection.release(); };
      try {
        if (options.readCommitted === true) {
          await connection.query("SET TRANSACTION ISOLATION LEVEL READ COMMITTED");
        }
        await connection.beginTransaction();
        const result = await run(connection);
        await connection.commit();
        return result;
      } catch (error) {
        await connection.rollback().catch(() => { end = () => { connection.destroy(); }; });
        throw error;
      } finally {
        end();
      }
    },
  };
}
