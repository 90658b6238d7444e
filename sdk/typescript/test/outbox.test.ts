import assert from "node:assert/strict";
import { describe, it, type TestContext } from "node:test";

import { Outbox, type OutboxEvent } from "@goconductor/sdk/outbox";
import type { Database } from "@goconductor/sdk/inbox";

import { databases } from "./databases.js";

interface Opened {
  database: Database<never>;
  events: Outbox<never>;
}

async function open(t: TestContext, name: keyof typeof databases): Promise<Opened | undefined> {
  const database = await databases[name](t);
  if (database === undefined) {
    return undefined;
  }
  const events = new Outbox(database);
  await Promise.all([events.migrate(), events.migrate()]);
  return { database, events };
}

async function emit({ database, events }: Opened, payload: unknown): Promise<string> {
  return await database.transaction(async (tx) => await events.emit(tx, "order-paid", payload));
}

for (const name of Object.keys(databases) as (keyof typeof databases)[]) {
  void describe(`outbox on ${name}`, { concurrency: true }, () => {
    void it("publishes only the events of committed transactions", async (t) => {
      const opened = await open(t, name);
      if (opened === undefined) {
        return;
      }
      const { database, events } = opened;
      await assert.rejects(database.transaction(async (tx) => {
        await events.emit(tx, "order-paid", "rolled back");
        throw new Error("requested failure");
      }));
      const first = await emit(opened, { n: 1 });
      const second = await emit(opened, "two");
      const published: OutboxEvent[] = [];
      let fails = true;
      const publish = (event: OutboxEvent): void => {
        if (event.id === first && fails) {
          throw new Error("the broker is not available");
        }
        published.push(event);
      };
      await assert.rejects(events.flush(publish), /the broker is not available/);
      assert.deepEqual(published.map((event) => event.id), [second]);
      fails = false;
      assert.equal(await events.flush(publish), 1);
      assert.equal(await events.flush(publish), 0);
      assert.deepEqual(published[1], { id: first, topic: "order-paid", payloadJson: '{"n":1}' });
    });

    void it("shares the events among relays", async (t) => {
      const opened = await open(t, name);
      if (opened === undefined) {
        return;
      }
      for (let number = 0; number < 250; number++) {
        await emit(opened, number);
      }
      const end = new AbortController();
      const seen = new Map<string, number>();
      const relay = async (): Promise<void> => {
        await opened.events.relay((event) => {
          seen.set(event.id, (seen.get(event.id) ?? 0) + 1);
          if (seen.size === 250) {
            // The transaction of the last event commits before the relays end.
            setTimeout(() => { end.abort(); }, 500);
          }
        }, { signal: AbortSignal.any([end.signal, AbortSignal.timeout(30_000)]) });
      };
      await Promise.all([relay(), relay()]);
      assert.equal(seen.size, 250);
      assert.deepEqual(new Set(seen.values()), new Set([1]));
    });

    void it("delays no transaction by a publication", { skip: name === "sqlite" }, async (t) => {
      const opened = await open(t, name);
      if (opened === undefined) {
        return;
      }
      const first = await emit(opened, 1);
      const published = await opened.events.flush(async (event) => {
        assert.equal(event.id, first);
        await emit(opened, 2);
      });
      assert.equal(published, 1);
    });
  });
}
