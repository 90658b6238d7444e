import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";
import { describe, it, type TestContext } from "node:test";

import { asActionError, RawJson } from "@goconductor/sdk";
import { type Database, Inbox, InvalidKey } from "@goconductor/sdk/inbox";

import { databases, marked } from "./databases.js";

const effects = "CREATE TABLE effects (step VARCHAR(200) NOT NULL, applied INT NOT NULL, undone INT NOT NULL)";

class Requested extends Error {}

/** A participant with a table of effects and an inbox. */
class Participant {
  readonly inbox: Inbox<never>;
  readonly #database: Database<never>;

  private constructor(database: Database<never>) {
    this.#database = database;
    this.inbox = new Inbox(database);
  }

  static async open(t: TestContext, name: keyof typeof databases): Promise<Participant | undefined> {
    const database = await databases[name](t);
    if (database === undefined) {
      return undefined;
    }
    const participant = new Participant(database);
    await Promise.all([participant.inbox.migrate(), participant.inbox.migrate()]);
    await database.transaction(async (tx) => { await database.statements(tx).script(effects); });
    return participant;
  }

  async #insert(tx: never, step: string, applied: number, undone: number): Promise<void> {
    const statement = marked(this.#database, "INSERT INTO effects (step, applied, undone) VALUES (?, ?, ?)");
    await this.#database.statements(tx).run(statement, [step, applied, undone]);
  }

  /** Adds an effect. */
  async execute(key: string, fails = false): Promise<string> {
    const step = key.replace(/\/execute$/, "");
    return await this.inbox.do(key, async (tx) => {
      await this.#insert(tx, step, 1, 0);
      if (fails) {
        throw new Requested("requested failure");
      }
      return { step, n: 12345678901234567890n };
    });
  }

  /** Undoes the effect. */
  async compensate(key: string, fails = false): Promise<void> {
    const step = key.replace(/\/compensate$/, "");
    await this.inbox.undo(key, async (tx, outputJson) => {
      assert.equal(outputJson, outputOf(step));
      await this.#insert(tx, step, 0, 1);
      if (fails) {
        throw new Requested("requested failure");
      }
    });
  }

  async effects(step: string): Promise<[number, number]> {
    const query = "SELECT coalesce(sum(applied), 0) AS applied, coalesce(sum(undone), 0) AS undone FROM effects WHERE step = ?";
    const [row] = await this.#database.transaction(async (tx) =>
      await this.#database.statements(tx).rows(marked(this.#database, query), [step]));
    return [Number(row?.["applied"]), Number(row?.["undone"])];
  }
}

function outputOf(step: string): string {
  return `{"step":"${step}","n":12345678901234567890}`;
}

function isUndone(error: unknown): boolean {
  const { outcome, code } = asActionError(error);
  return outcome === "refused" && code === "UNDONE";
}

for (const name of Object.keys(databases) as (keyof typeof databases)[]) {
  void describe(`inbox on ${name}`, { concurrency: true }, () => {
    void it("keeps each guarantee", async (t) => {
      const p = await Participant.open(t, name);
      if (p === undefined) {
        return;
      }
      // An execute takes effect once, and a repeated request returns its output.
      assert.equal(await p.execute("w/a/execute"), outputOf("w/a"));
      assert.equal(await p.execute("w/a/execute", true), outputOf("w/a"));
      assert.deepEqual(await p.effects("w/a"), [1, 0]);
      // A compensate takes effect once, and a later execute is refused.
      await p.compensate("w/a/compensate");
      await p.compensate("w/a/compensate", true);
      await assert.rejects(p.execute("w/a/execute"), isUndone);
      assert.deepEqual(await p.effects("w/a"), [1, 1]);
      // A compensate without an execute does nothing, and a later execute is refused.
      await p.compensate("w/b/compensate", true);
      await assert.rejects(p.execute("w/b/execute"), isUndone);
      await p.compensate("w/b/compensate", true);
      assert.deepEqual(await p.effects("w/b"), [0, 0]);
      // A transaction that is rolled back leaves no record.
      await assert.rejects(p.execute("w/c/execute", true), Requested);
      assert.deepEqual(await p.effects("w/c"), [0, 0]);
      await p.execute("w/c/execute");
      await assert.rejects(p.compensate("w/c/compensate", true), Requested);
      assert.deepEqual(await p.effects("w/c"), [1, 0]);
      await p.compensate("w/c/compensate");
      // An invalid key changes nothing.
      for (const key of ["", "execute", "/execute", "w/execute", "w//execute", "w/d/compensate", "w/d/e/execute"]) {
        await assert.rejects(p.execute(key), InvalidKey);
      }
      // Only records older than the given age are removed.
      assert.equal(await p.inbox.prune(3_600_000), 0);
      await sleep(1100);
      assert.equal(await p.inbox.prune(0), 3);
    });

    void it("lets concurrent requests take effect once", async (t) => {
      const p = await Participant.open(t, name);
      if (p === undefined) {
        return;
      }
      const request = async (number: number): Promise<void> => {
        const step = number % 5;
        // Half of the requests fail, and other processes repeat them. Some steps are compensated in between.
        if (number % 16 === 7 && step % 2 === 0) {
          await p.compensate(`concurrent/s${step}/compensate`);
          return;
        }
        try {
          await p.execute(`concurrent/s${step}/execute`, number % 2 === 0);
        } catch (error) {
          assert.ok(error instanceof Requested || isUndone(error), String(error));
        }
      };
      await Promise.all(Array.from({ length: 160 }, (_, number) => request(number)));
      const counts = await Promise.all([0, 1, 2, 3, 4].map((step) => p.effects(`concurrent/s${step}`)));
      for (const [step, [applied, undone]] of counts.entries()) {
        assert.ok(applied <= 1 && undone <= applied, `s${step}: applied ${applied}, undone ${undone}`);
        if (step % 2 === 1) {
          assert.deepEqual([applied, undone], [1, 0]);
        }
      }
    });

    void it("returns an output that cannot be converted as an unknown outcome, without an effect", async (t) => {
      const p = await Participant.open(t, name);
      if (p === undefined) {
        return;
      }
      const cycle: { self?: unknown } = {};
      cycle.self = cycle;
      await assert.rejects(p.inbox.do("w/a/execute", () => cycle), (error) => asActionError(error).code === "BAD_OUTPUT");
      assert.equal(await p.inbox.do("w/a/execute", () => new RawJson("1.50")), "1.50");
    });
  });
}
