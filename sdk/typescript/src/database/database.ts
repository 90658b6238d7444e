/** A dialect of SQL. */
export type Dialect = "postgres" | "mysql" | "sqlite";

/** A row of a result, by column. */
export type Row = Readonly<Record<string, unknown>>;

/** A parameter of a statement. */
export type Parameter = string | number;

/** The statements of a transaction. Parameters are `$1` in PostgreSQL and `?` in the other databases. */
export interface Statements {
  /** Returns the rows of a query. */
  rows(sql: string, parameters: readonly Parameter[]): Promise<Row[]>;
  /** Runs a statement, and returns the number of affected rows. */
  run(sql: string, parameters: readonly Parameter[]): Promise<number>;
  /** Runs a script of several statements without parameters. */
  script(sql: string): Promise<void>;
}

/** The options of a transaction. */
export interface TransactionOptions {
  /** Asks MySQL for the isolation level READ COMMITTED. The other databases use their default. */
  readCommitted?: boolean;
}

/**
 * A database of a participant. `Tx` is its transaction in the library that the participant uses: a client of node-postgres, a
 * connection of mysql2, a database of better-sqlite3, or a transaction of Prisma or Drizzle.
 */
export interface Database<Tx> {
  readonly dialect: Dialect;
  /** Returns the statements of a transaction. */
  statements(tx: Tx): Statements;
  /** Runs a function in a transaction. Commits if the promise resolves, and rolls back if it rejects. */
  transaction<T>(run: (tx: Tx) => Promise<T>, options?: TransactionOptions): Promise<T>;
}
