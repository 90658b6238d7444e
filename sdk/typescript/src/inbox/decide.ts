import type { Operation } from "../attempt.js";
import type { Database, Row } from "../database/database.js";
import { stepOf } from "./key.js";

/**
 * The decision on a request.
 *
 * - `first`: a first request. Do the work, then record its output.
 * - `repeat`: a repeated request. Do nothing, and respond with the stored output.
 * - `refused`: an execute that arrived after its compensate. Do nothing, and refuse it.
 * - `nothing`: a compensate whose execute never arrived and will be refused. There is nothing to undo.
 */
export type Verdict = "first" | "repeat" | "refused" | "nothing";

/** The decision on a request, with an output as JSON. */
export interface Decision {
  verdict: Verdict;
  /** For a repeat, the stored output. For the first compensate, the output of the execute. */
  outputJson: string;
}

/** Decides on a request in a transaction. Waits for other transactions of the same step. */
export async function begin<Tx>(database: Database<Tx>, tx: Tx, key: string, operation: Operation): Promise<Decision> {
  const step = stepOf(key, operation);
  const statements = database.statements(tx);
  if (database.dialect === "postgres") {
    const query = `SELECT verdict, output FROM goconductor_inbox_${operation}($1)`;
    const [row] = await statements.rows(query, [key]);
    return { verdict: row?.["verdict"] as Verdict, outputJson: text(row?.["output"]) };
  }
  // The insert comes first, so that SQLite locks the database for the whole decision, and so that two transactions of MySQL
  // cannot wait for each other. MariaDB reserves the word undo. SQLite accepts its quotes.
  let insert = "INSERT INTO goconductor_inbox (step) VALUES (?) ON CONFLICT DO NOTHING";
  let query = "SELECT done, output, undone, `undo` FROM goconductor_inbox WHERE step = ?";
  if (database.dialect === "mysql") {
    insert = "INSERT INTO goconductor_inbox (step) VALUES (?) ON DUPLICATE KEY UPDATE step = step";
    query += " FOR UPDATE";
  }
  await statements.run(insert, [step]);
  const [known] = await statements.rows(query, [step]);
  const decision = decide(known ?? {}, operation);
  if (decision.verdict === "nothing") {
    // The record refuses an execute that arrives later.
    await statements.run("UPDATE goconductor_inbox SET undone = TRUE WHERE step = ?", [step]);
  }
  return decision;
}

/** Returns the decision on a request by the record of its step. */
function decide(known: Row, operation: Operation): Decision {
  // The databases return 0 and 1, and MySQL with some settings a boolean.
  const [done, undone] = [Boolean(known["done"]), Boolean(known["undone"])];
  if (operation === "execute") {
    if (undone) {
      return { verdict: "refused", outputJson: "null" };
    }
    return done ? { verdict: "repeat", outputJson: text(known["output"]) } : { verdict: "first", outputJson: "null" };
  }
  if (undone) {
    return { verdict: "repeat", outputJson: text(known["undo"]) };
  }
  return done ? { verdict: "first", outputJson: text(known["output"]) } : { verdict: "nothing", outputJson: "null" };
}

/** Records the output of a request, as JSON. */
export async function finish<Tx>(
  database: Database<Tx>, tx: Tx, key: string, operation: Operation, outputJson: string,
): Promise<void> {
  const step = stepOf(key, operation);
  const output = outputJson === "" ? "null" : outputJson;
  const statements = database.statements(tx);
  if (database.dialect === "postgres") {
    const side = operation === "execute" ? "done" : "undone";
    await statements.run(`SELECT goconductor_inbox_${side}($1, $2)`, [key, output]);
    return;
  }
  const statement = operation === "execute"
    ? "UPDATE goconductor_inbox SET done = TRUE, output = ? WHERE step = ?"
    : "UPDATE goconductor_inbox SET undone = TRUE, `undo` = ? WHERE step = ?";
  await statements.run(statement, [output, step]);
}

function text(value: unknown): string {
  return typeof value === "string" ? value : "null";
}
