/**
 * Deduplicates the requests to a participant, in the participant's own database transaction.
 *
 * The engine can send a request more than once with the same idempotency key, and a compensate can arrive before its execute.
 * An {@link Inbox} records every request in the transaction that changes the participant's data:
 *
 * - A repeated request returns the stored output and changes nothing.
 * - A compensate whose execute never arrived is recorded, and the execute is refused if it arrives later.
 * - A transaction that is rolled back leaves no record.
 *
 * ```ts
 * const inbox = new Inbox(postgres<PoolClient>(pool));
 * payments.pair<Order, Receipt>(
 *   "charge", (order, attempt) => inbox.execute(attempt, async (tx) => {
 *     await tx.query("INSERT INTO payments …");
 *     return receipt;
 *   }),
 *   "refund", ({ input }, attempt) => inbox.compensate(attempt, async (tx, receipt) => {
 *     await tx.query("DELETE FROM payments …");
 *   }),
 * );
 * ```
 *
 * Tables and decisions are those of the inboxes of the other languages, so that programs in several languages can share a
 * database.
 *
 * Invariants: transactions for one step run one after another; no execute takes effect after its compensate; no operation
 * takes effect twice, until {@link Inbox.prune} removes its record.
 *
 * @packageDocumentation
 */
import type { Attempt } from "../attempt.js";
import type { Database, Dialect } from "../database/database.js";
import { migrate } from "../database/migrate.js";
import { messageOf, Refused, Retryable, Unknown } from "../errors.js";
import { decodeJson, encodeJson } from "../json.js";
import { begin, type Decision, finish } from "./decide.js";
import { InvalidKey } from "./key.js";

export * from "../database/index.js";
export type { Decision, Verdict } from "./decide.js";
export { InvalidKey, stepOf } from "./key.js";

/** The number of deadlocks after which a request is left to the next attempt. */
const maxDeadlocks = 10;

const pruneStatements: Record<Dialect, string> = {
  postgres: "DELETE FROM goconductor_inbox WHERE at < now() - make_interval(secs => $1)",
  mysql: "DELETE FROM goconductor_inbox " +
    "WHERE at < CURRENT_TIMESTAMP(6) - INTERVAL CAST(? * 1000000 AS SIGNED) MICROSECOND",
  sqlite: "DELETE FROM goconductor_inbox WHERE at < strftime('%s', 'now') - ?",
};

/** A decision that the database ended by a deadlock. The work has not begun. */
class Deadlock extends Error {}

/** The inbox of a participant. `Tx` is the transaction of its database. */
export class Inbox<Tx> {
  readonly #database: Database<Tx>;

  constructor(database: Database<Tx>) {
    this.#database = database;
  }

  /** Creates the missing objects of the inbox. Call it at every start. Concurrent calls are safe. */
  async migrate(): Promise<void> {
    await migrate(this.#database, "inbox");
  }

  /**
   * Does the work of an action once, with the key of the attempt, and records its output in the same transaction. A repeated
   * request returns the stored output. An execute that arrives after its compensate is refused with the code UNDONE. If the
   * work fails, its changes are rolled back, nothing is recorded, and its error is thrown.
   */
  async execute<O>(attempt: Attempt, work: (tx: Tx) => O | Promise<O>): Promise<O> {
    return stored(await this.do(attempt.key, work)) as O;
  }

  /**
   * Undoes the work of an action once, with the key of the attempt, and records this in the same transaction. The function
   * receives the stored output of the execute. It is not called if the execute never arrived. If it fails, its changes are
   * rolled back, and its error is thrown.
   */
  // eslint-disable-next-line @typescript-eslint/no-unnecessary-type-parameters -- the caller states the type of the output
  async compensate<O>(attempt: Attempt, work: (tx: Tx, output: O) => void | Promise<void>): Promise<void> {
    await this.undo(attempt.key, (tx, outputJson) => work(tx, stored(outputJson) as O));
  }

  /** Does the work of an execute once, like {@link execute}, with a key. Returns the output as JSON. */
  async do(key: string, work: (tx: Tx) => unknown): Promise<string> {
    return await this.#transact(async (tx) => {
      const decision = await decided(this.beginExecute(tx, key));
      if (decision.verdict === "repeat") {
        return decision.outputJson;
      }
      if (decision.verdict === "refused") {
        throw new Refused("UNDONE", "the step was compensated before it was executed");
      }
      const output = await work(tx);
      let outputJson: string;
      try {
        outputJson = encodeJson(output);
      } catch (cause) {
        throw new Unknown("BAD_OUTPUT", messageOf(cause), { cause });
      }
      await recorded(this.finishExecute(tx, key, outputJson));
      return outputJson;
    });
  }

  /** Undoes an execute once, like {@link compensate}, with a key. The function receives the output of the execute as JSON. */
  async undo(key: string, work: (tx: Tx, outputJson: string) => unknown): Promise<void> {
    await this.#transact(async (tx) => {
      const decision = await decided(this.beginCompensate(tx, key));
      if (decision.verdict === "first") {
        await work(tx, decision.outputJson);
        await recorded(this.finishCompensate(tx, key, "null"));
      }
    });
  }

  /** Decides on an execute in a transaction of the caller. Waits for other transactions of the same step. */
  async beginExecute(tx: Tx, key: string): Promise<Decision> {
    return await begin(this.#database, tx, key, "execute");
  }

  /** Records the output of an execute, as JSON. */
  async finishExecute(tx: Tx, key: string, outputJson: string): Promise<void> {
    await finish(this.#database, tx, key, "execute", outputJson);
  }

  /**
   * Decides on a compensate in a transaction of the caller. Waits for other transactions of the same step. The decision
   * `nothing` is recorded, so that the transaction must be committed.
   */
  async beginCompensate(tx: Tx, key: string): Promise<Decision> {
    return await begin(this.#database, tx, key, "compensate");
  }

  /** Records the output of a compensate, as JSON. */
  async finishCompensate(tx: Tx, key: string, outputJson: string): Promise<void> {
    await finish(this.#database, tx, key, "compensate", outputJson);
  }

  /**
   * Removes records that are older than a duration, and returns their number. A request whose record was removed would take
   * effect again, so that the duration must exceed the longest lifetime of a workflow. Thirty days suit most systems.
   */
  async prune(olderThanMs: number): Promise<number> {
    const database = this.#database;
    return await database.transaction(async (tx) =>
      await database.statements(tx).run(pruneStatements[database.dialect], [olderThanMs / 1000]));
  }

  /** Runs a function in a transaction. Repeats a decision that ended in a deadlock. */
  async #transact<T>(run: (tx: Tx) => Promise<T>): Promise<T> {
    for (let attempt = 1;; attempt++) {
      try {
        return await this.#once(run);
      } catch (error) {
        if (!(error instanceof Deadlock)) {
          throw error;
        }
        if (attempt === maxDeadlocks) {
          throw rolledBack(error.cause);
        }
      }
    }
  }

  async #once<T>(run: (tx: Tx) => Promise<T>): Promise<T> {
    let state: "begin" | "work" | "commit" = "begin";
    let failure: unknown;
    try {
      return await this.#database.transaction(async (tx) => {
        state = "work";
        try {
          const result = await run(tx);
          state = "commit";
          return result;
        } catch (error) {
          failure = error;
          throw error;
        }
      });
    } catch (error) {
      switch (state as string) {
        case "begin":
          throw rolledBack(error);
        case "work":
          throw failure;
        default:
          // The commit may have taken effect. The next attempt finds its record.
          throw new Unknown("DATABASE", messageOf(error), { cause: error });
      }
    }
  }
}

/** Converts a stored output. */
function stored(outputJson: string): unknown {
  try {
    return decodeJson(outputJson);
  } catch (cause) {
    throw new Unknown("STORED_OUTPUT", `the inbox has an output that is not JSON: ${messageOf(cause)}`, { cause });
  }
}

/** Waits for a decision. MySQL reports a deadlock if several transactions wait for a new record that is rolled back. */
async function decided(decision: Promise<Decision>): Promise<Decision> {
  try {
    return await decision;
  } catch (error) {
    throw isDeadlock(error) ? new Deadlock("deadlock", { cause: error }) : rolledBack(error);
  }
}

async function recorded(record: Promise<void>): Promise<void> {
  try {
    await record;
  } catch (error) {
    throw rolledBack(error);
  }
}

function isDeadlock(error: unknown): boolean {
  for (let cause = error; cause instanceof Error; cause = cause.cause) {
    if ("errno" in cause && cause.errno === 1213) {
      return true;
    }
  }
  return false;
}

/** Returns the error of a transaction that had no effect. */
function rolledBack(error: unknown): unknown {
  return error instanceof InvalidKey ? error : new Retryable("DATABASE", messageOf(error), { cause: error });
}
