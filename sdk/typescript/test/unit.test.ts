import assert from "node:assert/strict";
import { EventEmitter } from "node:events";
import { describe, it } from "node:test";

import {
  asActionError, AttemptCancelled, Client, DeadlineExceeded, decodeJson, definitionOf, encodeJson, GoConductorError, RawJson,
  Refused, Retryable, Service, type Workflow,
} from "@goconductor/sdk";
import { postgres } from "@goconductor/sdk/inbox";
import { DrainProgress, drainGraceMs } from "#dist/drain.js";
import { StallDetector } from "#dist/stall.js";
import { rolesOf } from "#dist/tls.js";

function isMisuse(text: RegExp) {
  return (error: unknown): boolean => error instanceof GoConductorError && error.kind === "misuse" && text.test(error.message);
}

void describe("JSON", () => {
  void it("keeps integers of 64 bits exactly", () => {
    const text = '{"big":9223372036854775807,"small":-9223372036854775808,"safe":9007199254740991,"list":[12345678901234567890]}';
    const value = decodeJson(text) as Record<string, unknown>;
    assert.equal(value["big"], 9223372036854775807n);
    assert.equal(value["safe"], Number.MAX_SAFE_INTEGER);
    assert.equal(encodeJson(value), text);
  });

  void it("finds no numbers in texts", () => {
    const value = { "12345678901234567890": 'say "9223372036854775807" \\', emoji: "🚀\u2028", tail: "\\\\" };
    assert.deepEqual(decodeJson(JSON.stringify(value)), value);
  });

  void it("converts decimals and exponents as JSON.parse does", () => {
    assert.deepEqual(decodeJson("[0.1234567890123456789, 1e400, 1234567890123456789e2, 0.1]"),
      [Number("0.1234567890123456789"), Infinity, Number("1234567890123456789e2"), 0.1]);
  });

  void it("keeps raw JSON as it is", () => {
    assert.equal(encodeJson({ a: new RawJson("1.50"), b: [new RawJson('{"c": 2}'), 3n] }), '{"a":1.50,"b":[{"c": 2},3]}');
    assert.throws(() => new RawJson("{"), SyntaxError);
  });

  void it("keeps numbers in a program that defines BigInt.prototype.toJSON", () => {
    const prototype = BigInt.prototype as unknown as { toJSON?: (this: bigint) => string };
    prototype.toJSON = function () { return this.toString(); };
    try {
      assert.equal(encodeJson({ n: 9223372036854775807n, list: [1n] }), '{"n":9223372036854775807,"list":[1]}');
      assert.equal(encodeJson(9223372036854775807n), "9223372036854775807");
    } finally {
      delete prototype.toJSON;
    }
  });

  void it("converts absent values to null, and empty text to null", () => {
    assert.equal(encodeJson(undefined), "null");
    assert.equal(decodeJson(""), null);
    assert.throws(() => decodeJson("{"), SyntaxError);
    assert.throws(() => decodeJson("[12345678901234567890"), SyntaxError);
  });
});

void describe("outcome of a thrown value", () => {
  const cases: [string, unknown, string, string][] = [
    ["an action error", new Retryable("BUSY", "later"), "retryable", "BUSY"],
    ["a cause", new Error("outer", { cause: new Refused("NO", "no") }), "refused", "NO"],
    ["an error", new Error("wrong"), "unknown", "ERROR"],
    ["an exception", new TypeError("x is undefined"), "unknown", "PANICKED"],
    ["a failed fetch", new TypeError("fetch failed", { cause: new Error("ECONNREFUSED") }), "unknown", "ERROR"],
    ["a text", "wrong", "unknown", "PANICKED"],
    ["a cancelled attempt", new AttemptCancelled("the saga rolls back"), "unknown", "CANCELLED"],
    ["an aborted call", new DOMException("aborted", "AbortError"), "unknown", "CANCELLED"],
    ["a deadline", new DeadlineExceeded("late"), "unknown", "DEADLINE_EXCEEDED"],
    ["a timeout", new DOMException("timeout", "TimeoutError"), "unknown", "DEADLINE_EXCEEDED"],
  ];
  for (const [name, thrown, outcome, code] of cases) {
    void it(`of ${name} is ${outcome} with the code ${code}`, () => {
      const error = asActionError(thrown);
      assert.deepEqual([error.outcome, error.code], [outcome, code]);
    });
  }
});

void describe("names", () => {
  const none = (): null => null;
  const client = new Client("http://127.0.0.1:1");

  void it("of services and actions are checked", () => {
    assert.throws(() => client.serve(new Service("Shop").action("a", none)), isMisuse(/"Shop" is not a name of a service/));
    assert.throws(() => client.serve(new Service("shop")), isMisuse(/at least one action/));
    assert.throws(() => client.serve(new Service("shop").action("a b", none)), isMisuse(/"a b" is not a name of an action/));
    assert.throws(() => client.serve(new Service("shop").action("a", none).action("a", none)), isMisuse(/the action a twice/));
  });

  void it("and limits of services are checked", () => {
    assert.throws(() => client.serve(new Service("shop", { capacity: Infinity }).action("a", none)), isMisuse(/is Infinity/));
    assert.throws(() => client.serve(new Service("shop", { capacity: NaN }).action("a", none)), isMisuse(/is NaN/));
    assert.throws(() => client.serve(new Service("shop").action("a", none, { maxInFlight: NaN })), isMisuse(/maxInFlight of the action a/));
  });

  void it("of workflows and steps are derived from their titles", () => {
    const workflow: Workflow = { name: "Order Processing", steps: [{ name: "Process Payment", execute: none, timeoutMs: 900 }] };
    assert.deepEqual(JSON.parse(definitionOf(workflow)), {
      workflow: "order-processing", title: "Order Processing",
      steps: [{
        name: "process_payment", title: "Process Payment", run: "order-processing/process_payment", compensate: "none",
        timeout: "900ms", retry: { max_attempts: 5 },
      }],
    });
    assert.throws(() => definitionOf({ name: "Order", steps: [] }), isMisuse(/at least one step/));
    assert.throws(() => definitionOf({ name: "Order", steps: [{ name: "?", execute: none }] }), isMisuse(/"\?" must have a name/));
  });

  void it("of addresses are checked", () => {
    for (const address of ["127.0.0.1:8470", "ftp://a", "http://a/b", "http://user@a", "http://a?b"]) {
      assert.throws(() => new Client(address), isMisuse(/address/), address);
    }
    assert.throws(() => new Client("http://a", { tls: { ca: "ca.crt" } }), isMisuse(/use the scheme https/));
    assert.throws(() => new Client("http://a", { executors: ["https://b"] }), isMisuse(/must have the scheme of the gateway/));
    assert.throws(() => new Client("https://a", { tls: { certificate: "a" } }), isMisuse(/must be set together/));
  });
});

void describe("roles of a certificate", () => {
  void it("are those of its URIs", () => {
    assert.deepEqual(rolesOf("DNS:localhost, IP Address:127.0.0.1, URI:spiffe://a/saga-executor"), ["saga-executor"]);
    assert.deepEqual(rolesOf('DNS:"a, URI:spiffe://a/saga-executor/b", URI:spiffe://a/worker'), ["worker"]);
    assert.deepEqual(rolesOf("URI:https://a/saga-executor, URI:spiffe://a/other"), []);
  });
});

void describe("transaction of PostgreSQL", () => {
  class Client extends EventEmitter {
    released: unknown;
    query(): Promise<{ rows: unknown[]; rowCount: number }> {
      return Promise.resolve({ rows: [], rowCount: 0 });
    }
    release(destroy?: unknown): void {
      this.released = destroy;
    }
  }

  void it("survives the loss of its connection between two statements, and does not return it to the pool", async () => {
    const client = new Client();
    const lost = new Error("terminating connection due to administrator command");
    await postgres<Client>({ connect: () => Promise.resolve(client) }).transaction((tx) => {
      tx.emit("error", lost);
      return Promise.resolve();
    });
    assert.equal(client.released, lost);
    assert.equal(client.listenerCount("error"), 0);
  });
});

void describe("stall detector", () => {
  void it("counts a suspension for messages that arrived during it", () => {
    const stalls = new StallDetector(0);
    stalls.tick(100, 100);
    assert.equal(stalls.delay(150), 0);
    assert.equal(stalls.delay(2100), 2000);
    stalls.tick(2101, 2102);
    assert.equal(stalls.delay(2150), 2050);
  });

  void it("counts the time for which the event loop was busy", () => {
    const stalls = new StallDetector(0);
    // The function ran after the event loop had read its sockets in the tick.
    stalls.tick(100, 2100);
    assert.equal(stalls.delay(2150), 2050);
    assert.equal(stalls.delay(2600), 2500);
  });

  void it("counts no stall for messages that arrived after it", () => {
    const stalls = new StallDetector(0);
    stalls.tick(700, 701);
    assert.equal(stalls.delay(810), 0);
    stalls.tick(801, 802);
    assert.equal(stalls.delay(850), 0);
  });

  // The ticks of a detector that starts at 0, the time at which a message is received, and how long ago it may have arrived.
  // The tests of all SDKs have these cases.
  const cases: [name: string, ticks: number[], receivedAt: number, expected: number][] = [
    ["progress", [100], 199, 0],
    ["a delay that is no stall", [100], 399, 0],
    ["the shortest stall", [100], 400, 300],
    ["a message before the tick that ends the stall", [100], 2100, 2000],
    ["a message that waited, after that tick", [100, 2100], 2110, 2010],
    ["the last message that was held back", [100, 2100], 2199, 2099],
    ["a task that was sent after the stall", [100, 2100], 2200, 0],
    ["a second tick soon after the stall", [100, 2100, 2105], 2150, 2050],
    ["a task that was sent long after the stall", [100, 2100, 2200, 2300, 2400], 2450, 0],
    ["a second stall soon after the first", [100, 2100, 2500], 2550, 450],
    ["a second stall that goes on", [100, 2100, 2200], 2600, 400],
    ["a message that was received before the stall", [100, 2100], 50, 0],
  ];
  for (const [name, ticks, receivedAt, expected] of cases) {
    void it(`takes the stall from ${name}`, () => {
      const stalls = new StallDetector(0);
      for (const tick of ticks) {
        stalls.tick(tick, tick);
      }
      assert.equal(stalls.delay(receivedAt), expected);
    });
  }
});

void describe("drain of a stream", () => {
  void it("is complete when no task is on the way", () => {
    const drain = new DrainProgress();
    drain.acknowledges = true;
    drain.acknowledged(1000);
    assert.ok(!drain.complete(99_000), "the drain has not begun");
    drain.workerDrains(1000);
    assert.equal(drain.endsAt, undefined);
    assert.ok(!drain.complete(99_000), "the drain is not acknowledged");
    drain.acknowledged(2000);
    assert.ok(drain.complete(2000));
    const byExecutor = new DrainProgress();
    byExecutor.acknowledges = true;
    byExecutor.workerDrains(1000);
    byExecutor.executorDrains(1000);
    assert.ok(byExecutor.complete(1000));
  });

  for (const first of ["workerDrains", "executorDrains"] as const) {
    void it(`waits for tasks of an earlier executor after ${first}`, () => {
      const drain = new DrainProgress();
      drain[first](1000);
      // A second drain does not prolong the wait.
      drain.workerDrains(1100);
      drain.executorDrains(1100);
      assert.equal(drain.endsAt, 1000 + drainGraceMs);
      assert.ok(!drain.complete(1100));
      assert.ok(drain.complete(1000 + drainGraceMs));
    });
  }
});
