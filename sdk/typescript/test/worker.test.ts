import assert from "node:assert/strict";
import { describe, it, type TestContext } from "node:test";

import { Server, ServerCredentials, type ServerDuplexStream } from "@grpc/grpc-js";
import { Client, type Logger, Refused, Retryable, Service } from "@goconductor/sdk";
import { worker as wire } from "@goconductor/sdk/proto";
import { drainGraceMs } from "#dist/drain.js";

type Outcome = NonNullable<wire.TaskResult["outcome"]>;

const silent: Logger = { debug: () => undefined, info: () => undefined, warn: () => undefined, error: () => undefined };

/** Tasks that cross the drain of the worker. */
interface LateTask {
  /** The time from the drain to the tasks. */
  afterMs: number;
  acknowledges: boolean;
}

/** An executor that sends one task for each action of a worker, and keeps the results. */
class Executor {
  readonly results: Promise<Map<string, Outcome>>;
  url = "";

  private constructor(server: Server, timeoutMs: number, late: LateTask | undefined) {
    this.results = new Promise((resolve) => {
      server.addService(wire.WorkerServiceService, {
        connect: (call: ServerDuplexStream<wire.ConnectRequest, wire.ConnectResponse>) => {
          const found = new Map<string, Outcome>();
          let actions: string[] = [];
          let atDrain = (): void => undefined;
          call.on("data", ({ message }: wire.ConnectRequest) => {
            if (message?.$case === "hello") {
              ({ actions } = message.value);
              const welcome = {
                executor: "test", lease: { seconds: 20n, nanos: 0 }, maxOutputBytes: 0n,
                acknowledgesDrain: late?.acknowledges ?? true,
              };
              const sendTasks = (): void => {
                for (const [index, action] of actions.entries()) {
                  call.write({ message: { $case: "task", value: task(BigInt(index), action, timeoutMs) } });
                }
              };
              call.write({ message: { $case: "welcome", value: welcome } });
              if (late === undefined) {
                sendTasks();
              } else {
                atDrain = sendTasks;
              }
            } else if (message?.$case === "drain") {
              setTimeout(() => {
                atDrain();
                if (late?.acknowledges ?? true) {
                  call.write({ message: { $case: "drainAck", value: {} } });
                }
              }, late?.afterMs ?? 0);
            } else if (message?.$case === "result" && message.value.outcome !== undefined) {
              found.set(actions[Number(message.value.taskId)] ?? "", message.value.outcome);
              if (found.size === actions.length) {
                resolve(found);
              }
            }
          });
          call.on("end", () => { call.end(); });
          call.on("error", () => undefined);
        },
      });
    });
  }

  static async start(t: TestContext, timeoutMs: number, late?: LateTask): Promise<Executor> {
    const server = new Server();
    const executor = new Executor(server, timeoutMs, late);
    const port = await new Promise<number>((resolve, reject) => {
      server.bindAsync("127.0.0.1:0", ServerCredentials.createInsecure(), (error, bound) => {
        if (error === null) {
          resolve(bound);
        } else {
          reject(error);
        }
      });
    });
    executor.url = `http://127.0.0.1:${port}`;
    t.after(() => { server.forceShutdown(); });
    return executor;
  }
}

function task(taskId: bigint, action: string, timeoutMs: number): wire.Task {
  return {
    taskId, workflowId: "w", step: action, operation: wire.Operation.OPERATION_EXECUTE, action, attempt: 1,
    idempotencyKey: `w/${action}/execute`, inputJson: "1", deadline: undefined,
    timeout: { seconds: BigInt(timeoutMs / 1000), nanos: 0 }, traceparent: "", lockTokens: {}, heartbeatTimeout: undefined,
    tracestate: "",
  };
}

function described(outcome: Outcome | undefined): [string | undefined, string | undefined] {
  return [outcome?.$case, outcome?.$case === "done" ? undefined : outcome?.value.failure?.code];
}

void describe("worker", () => {
  void it("reports every value that an action throws, and drains", async (t) => {
    const executor = await Executor.start(t, 30_000);
    const untyped = (value: unknown): never => value as never;
    const throwing = (thrown: unknown) => (): never => { throw thrown; };
    const service = new Service("shop")
      .action("forever", throwing(new Retryable("BUSY", "later", { afterMs: Infinity })))
      .action("number", throwing(new Refused(untyped(42), untyped(undefined))))
      .action("bare", throwing(Object.create(null)))
      .action("message", throwing(Object.assign(new Error(), { message: { text: "an object" } })))
      .action("accessor", throwing(Object.defineProperty(new Error(), "message", { get: throwing(new Error("no message")) })));
    const client = new Client("http://127.0.0.1:1", { executors: [executor.url], logger: silent });
    const worker = client.serve(service);
    const results = await executor.results;
    assert.deepEqual(described(results.get("forever")), ["retryable", "BUSY"]);
    assert.deepEqual(described(results.get("number")), ["refused", "42"]);
    assert.deepEqual(described(results.get("bare")), ["unknown", "PANICKED"]);
    assert.deepEqual(described(results.get("message")), ["unknown", "ERROR"]);
    assert.deepEqual(described(results.get("accessor")), ["unknown", "ERROR"]);
    await worker.shutdown();
    await client.close();
  });

  void it("reports an outcome although its logger throws", async (t) => {
    const executor = await Executor.start(t, 30_000);
    const logger: Logger = {
      ...silent,
      debug: (message) => {
        if (message === "action failed") {
          throw new Error("the disk is full");
        }
      },
    };
    const client = new Client("http://127.0.0.1:1", { executors: [executor.url], logger });
    const worker = client.serve(new Service("shop").action("charge", () => { throw new Error("declined"); }));
    assert.deepEqual(described((await executor.results).get("charge")), ["unknown", "PANICKED"]);
    await worker.shutdown();
    await client.close();
  });

  void it("starts a task that was sent after the event loop was busy", async (t) => {
    const executor = await Executor.start(t, 2000);
    const client = new Client("http://127.0.0.1:1", { executors: [executor.url], logger: silent });
    const worker = client.serve(new Service("shop").action("charge", (_, attempt) => Math.trunc(attempt.timeLeftMs())));
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 2500);
    const outcome = (await executor.results).get("charge");
    assert.deepEqual(described(outcome), ["done", undefined]);
    await worker.shutdown();
    await client.close();
  });

  void it("finishes a task that crosses its drain", async (t) => {
    const executor = await Executor.start(t, 30_000, { afterMs: 600, acknowledges: true });
    const client = new Client("http://127.0.0.1:1", { executors: [executor.url], logger: silent });
    const worker = client.serve(new Service("shop").action("charge", () => 1));
    await worker.connected();
    await worker.shutdown();
    const open = new Promise<undefined>((resolve) => { setTimeout(resolve, 1000, undefined); });
    const results = await Promise.race([executor.results, open]);
    assert.deepEqual(described(results?.get("charge")), ["done", undefined]);
    await client.close();
  });

  void it("waits for tasks of an executor that does not acknowledge drains", async (t) => {
    const executor = await Executor.start(t, 30_000, { afterMs: 0, acknowledges: false });
    const client = new Client("http://127.0.0.1:1", { executors: [executor.url], logger: silent });
    const worker = client.serve(new Service("shop").action("charge", () => 1));
    await worker.connected();
    const start = performance.now();
    await worker.shutdown();
    assert.ok(performance.now() - start >= drainGraceMs);
    await client.close();
  });

  void it("reports why no executor accepted it", async () => {
    const client = new Client("http://127.0.0.1:1", { executors: ["http://127.0.0.1:1"], logger: silent });
    const worker = client.serve(new Service("shop").action("charge", () => null));
    await assert.rejects(worker.connected({ timeoutMs: 10_000 }), /ECONNREFUSED/);
    await worker.close();
    await client.close();
  });

  void it("does not wait for a token that never comes", async (t) => {
    const executor = await Executor.start(t, 2000);
    const token = (): Promise<string> => new Promise(() => undefined);
    const client = new Client("http://127.0.0.1:1", { executors: [executor.url], token, logger: silent });
    await assert.rejects(client.start("order", { timeoutMs: 50 }), { kind: "timeout" });
    const signal = AbortSignal.timeout(50);
    await assert.rejects(client.workflow("w").result({ signal }), { name: "TimeoutError" });
    const worker = client.serve(new Service("shop").action("charge", () => null));
    await assert.rejects(worker.connected({ timeoutMs: 50 }), { kind: "no_executor" });
    await worker.close();
    await client.close();
  });
});
