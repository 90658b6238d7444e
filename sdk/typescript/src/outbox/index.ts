/**
 * Emits events in the transaction of a participant, and publishes them afterwards.
 *
 * An event that is emitted in a transaction exists exactly if the transaction was committed:
 *
 * ```ts
 * await inbox.execute(attempt, async (tx) => {
 *   await events.emit(tx, "order-paid", order);
 *   return receipt;
 * });
 * ```
 *
 * {@link Outbox.relay} publishes the events at least once. Pass the id along, so that a repeat is recognised. To start a
 * workflow for each event:
 *
 * ```ts
 * await events.relay((event) => client.start(event.topic, { key: event.id, input: new RawJson(event.payloadJson) }), { signal });
 * ```
 *
 * @packageDocumentation
 */
import { randomUUID } from "node:crypto";

import type { Database } from "../database/database.js";
import { migrate } from "../database/migrate.js";
import { messageOf } from "../errors.js";
import { encodeJson } from "../json.js";
import { type Logger, stderrLogger } from "../logger.js";
import { sleep } from "../time.js";

export * from "../database/index.js";

/** The maximum number of events that one transaction publishes. */
const batch = 100;
/** The interval at which a relay looks for events. */
const pollIntervalMs = 200;
/** The longest delay after a failure. */
const maxRetryDelayMs = 10_000;

/** An event. */
export interface OutboxEvent {
  /** Unique, and the same for every publication of the event. */
  id: string;
  /** The kind of the event. */
  topic: string;
  /** The payload as JSON. */
  payloadJson: string;
}

/** Publishes an event. An event for which it rejects is published again later. */
export type Publish = (event: OutboxEvent) => unknown;

/** The options of an {@link Outbox}. */
export interface OutboxOptions {
  /** The logger of failed publications (default: {@link stderrLogger}). */
  logger?: Logger;
}

/** A table of events. `Tx` is the transaction of its database. */
export class Outbox<Tx> {
  readonly #database: Database<Tx>;
  readonly #logger: Logger;

  constructor(database: Database<Tx>, options: OutboxOptions = {}) {
    this.#database = database;
    this.#logger = options.logger ?? stderrLogger;
  }

  /** Creates the missing objects of the outbox. Call it at every start. Concurrent calls are safe. */
  async migrate(): Promise<void> {
    await migrate(this.#database, "outbox");
  }

  /** Adds an event in a transaction of the caller, and returns its id. The payload is converted to JSON. */
  async emit(tx: Tx, topic: string, payload: unknown): Promise<string> {
    const id = randomUUID();
    const values = this.#database.dialect === "postgres" ? "($1, $2, $3)" : "(?, ?, ?)";
    const statement = `INSERT INTO goconductor_outbox (id, topic, payload) VALUES ${values}`;
    await this.#database.statements(tx).run(statement, [id, topic, encodeJson(payload)]);
    return id;
  }

  /**
   * Publishes events until the signal is aborted. An event whose publication fails is published again later, and does not
   * delay the others of its batch. Several relays can run at a time. On PostgreSQL and MySQL they share the events. On SQLite
   * other transactions wait until a batch is published, so that `publish` must be fast. Events of concurrent transactions are
   * in no order.
   */
  async relay(publish: Publish, options: { signal: AbortSignal }): Promise<void> {
    let delay = pollIntervalMs;
    while (!options.signal.aborted) {
      try {
        const published = await this.flush(publish);
        delay = pollIntervalMs;
        if (published === batch) {
          continue;
        }
      } catch (error) {
        this.#logger.warn("outbox failed to publish events", { error: messageOf(error) });
        delay = Math.min(2 * delay, maxRetryDelayMs);
      }
      await sleep(delay, options.signal);
    }
  }

  /**
   * Publishes at most 100 events, and returns the number of those that were published. Rejects with an `AggregateError` of the
   * errors of the others. The events that were published are removed in any case.
   */
  async flush(publish: Publish): Promise<number> {
    const failures: Error[] = [];
    // The default level of MySQL would lock the gap after the last event, in which transactions insert theirs.
    const published = await this.#database.transaction(async (tx) => {
      let count = 0;
      for (const { seq, ...event } of await this.#lock(tx)) {
        try {
          await publish(event);
        } catch (cause) {
          failures.push(new Error(`event ${event.id} of ${event.topic}: ${messageOf(cause)}`, { cause }));
          continue;
        }
        const mark = this.#database.dialect === "postgres" ? "$1" : "?";
        await this.#database.statements(tx).run(`DELETE FROM goconductor_outbox WHERE seq = ${mark}`, [seq]);
        count += 1;
      }
      return count;
    }, { readCommitted: true });
    if (failures.length > 0) {
      throw new AggregateError(failures, failures.map((failure) => failure.message).join("; "));
    }
    return published;
  }

  /** Locks the oldest events, and returns them with their numbers. */
  async #lock(tx: Tx): Promise<(OutboxEvent & { seq: string })[]> {
    // The number as text keeps all digits in every driver. SQLite locks the database for each transaction.
    const number = this.#database.dialect === "mysql" ? "CAST(seq AS CHAR)" : "CAST(seq AS TEXT)";
    const lock = this.#database.dialect === "sqlite" ? "" : " FOR UPDATE SKIP LOCKED";
    const query = `SELECT ${number} AS number, id, topic, payload FROM goconductor_outbox ORDER BY seq LIMIT ${batch}${lock}`;
    const rows = await this.#database.statements(tx).rows(query, []);
    return rows.map((row) => ({
      seq: String(row["number"]), id: String(row["id"]), topic: String(row["topic"]), payloadJson: String(row["payload"]),
    }));
  }
}
