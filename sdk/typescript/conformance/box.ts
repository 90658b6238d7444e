import Database from "libsql";

import { type Attempt, encodeJson, RawJson, Unknown } from "@goconductor/sdk";
import { Inbox, sqlite } from "@goconductor/sdk/inbox";

import { die } from "./script.js";

/** The instruction to run the inbox. */
export interface InboxStep {
  output?: unknown;
  /** Ends the process by SIGKILL after the commit. */
  die?: boolean;
  /** "lost" if the attempt ends unknown after the commit. */
  answer?: string;
}

const effectsTable = `CREATE TABLE IF NOT EXISTS effects (
  seq INTEGER PRIMARY KEY, step TEXT NOT NULL, operation TEXT NOT NULL)`;

/** The database of the participant, with its inbox and its effects. */
export class Box {
  readonly #db: Database.Database;
  readonly #inbox: Inbox<Database.Database>;
  readonly #broken: string;

  private constructor(db: Database.Database, broken: string) {
    this.#db = db;
    this.#inbox = new Inbox(sqlite(db));
    this.#broken = broken;
  }

  static async open(file: string, broken: string): Promise<Box> {
    const db = new Database(file, { timeout: 30_000 });
    db.pragma("journal_mode = WAL");
    const box = new Box(db, broken);
    await box.#inbox.migrate();
    db.exec(effectsTable);
    return box;
  }

  /** Records the effect of an attempt through the inbox. */
  async run(key: string, attempt: Attempt, step: InboxStep): Promise<string> {
    const record = (tx: Database.Database): void => {
      tx.prepare("INSERT INTO effects (step, operation) VALUES (?, ?)").run(attempt.step, attempt.operation);
    };
    let output = "null";
    if (attempt.operation === "execute") {
      output = await this.#inbox.do(key, (tx) => {
        record(tx);
        return new RawJson(encodeJson(step.output));
      });
    } else {
      await this.#inbox.undo(key, record);
      if (this.#broken === "inbox-without-tombstone") {
        this.#db.exec("DELETE FROM goconductor_inbox WHERE undone AND NOT done");
      }
    }
    if (step.die === true) {
      die();
    }
    if (step.answer === "lost") {
      throw new Unknown("LOST", "the response was lost");
    }
    return output;
  }

  /** Returns the effects, in order. */
  effects(): unknown[] {
    return this.#db.prepare("SELECT step, operation FROM effects ORDER BY seq").all();
  }
}
