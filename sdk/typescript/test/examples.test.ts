import assert from "node:assert/strict";
import { type ChildProcess, execFile, spawn } from "node:child_process";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { promisify } from "node:util";

import { type Fault, onCompensate, onExecute, type Run, Saga, type Server, startServer } from "@goconductor/sdk/testing";

import { open } from "../examples/order-saga/database.js";
import { inventory, type Order, payments, shipping } from "../examples/order-saga/services.js";

/** The folder of the package, and that of the compiled examples. */
const root = join(import.meta.dirname, "../..");
const examples = join(import.meta.dirname, "../examples");

void describe("examples", { concurrency: true }, () => {
  let server: Server;
  before(async () => { server = await startServer(); });
  after(async () => { await server.stop(); });

  void it("order-in-one completes and rolls back, in at most 40 lines", async () => {
    const env = { ...process.env, GOCONDUCTOR_SERVER: server.url };
    const { stdout } = await promisify(execFile)(process.execPath, [join(examples, "order-in-one/main.js")], { env });
    const lines = ["charged", "book COMPLETED", "charged", "refunded", "sold-out ROLLED_BACK", ""];
    assert.equal(stdout, lines.join("\n"));
    const source = await readFile(join(root, "examples/order-in-one/main.ts"), "utf8");
    assert.ok(source.split("\n").length <= 41);
  });

  void it("http-participant takes part without the package", async (t) => {
    const port = 20_000 + Math.floor(Math.random() * 10_000);
    const env = { ...process.env, PORT: String(port) };
    const participant: ChildProcess = spawn(process.execPath, [join(examples, "http-participant/main.js")], { env });
    t.after(() => { participant.kill(); });
    const response = await fetch(`${server.url}/api/v1/services/parcels`, {
      method: "PUT",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ http: { url: `http://127.0.0.1:${port}` } }),
    });
    assert.ok(response.ok, await response.text());
    const client = server.client();
    t.after(async () => { await client.close(); });
    await client.apply("shipping", `
workflow: shipping
steps:
  - { name: pack, run: parcels/pack, compensate: parcels/unpack }
output: { packed: "\${ steps.pack.output.done }" }
`);
    const started = await client.start("shipping");
    const { status, output } = await started.result({ signal: AbortSignal.timeout(30_000) });
    assert.deepEqual({ status, output }, { status: "COMPLETED", output: { packed: "/pack" } });
  });

  void it("order-saga keeps its tables consistent after each fault at each step", async (t) => {
    const folder = await mkdtemp(join(tmpdir(), "goconductor-"));
    const { db, inbox } = await open(join(folder, "shop.db"));
    t.after(async () => {
      db.close();
      await rm(folder, { recursive: true });
    });
    // The definition is that of the same saga in Rust.
    const definition = await readFile(join(root, "../../examples/order-saga/order.yaml"), "utf8");
    const saga = Saga.ofDefinition(server, "order", definition, inventory(inbox), payments(inbox), shipping(inbox));
    let number = 0;
    let expected = 0;
    const next = (): Order => ({ order_id: `o-${++number}`, sku: "book", amount: 42 });
    const check = (run: Run, completes: boolean): void => {
      expected += completes ? 1 : 0;
      run.assertStatus(completes ? "COMPLETED" : "ROLLED_BACK");
      run.assertNothingStands();
      const query = `SELECT (SELECT count(*) FROM reservations) AS reserved,
        (SELECT 1000 - available FROM stock WHERE sku = 'book') AS taken,
        (SELECT count(*) FROM payments) AS charged, (SELECT count(*) FROM parcels) AS shipped`;
      const { reserved, taken, charged, shipped } = db.prepare(query).get() as Record<string, number>;
      assert.deepEqual([reserved, taken, charged, shipped], Array(4).fill(expected), run.timeline);
    };
    const injected: Fault[] = ["refuse", "fail", "unknown", "crash", "duplicate"];
    for (const step of ["reserve", "charge", "ship"]) {
      for (const fault of injected) {
        check(await saga.inject(onExecute(step), fault).run(next()), fault !== "refuse");
      }
    }
    const run = await saga.inject(onCompensate("charge"), "crash").inject(onCompensate("reserve"), "unknown")
      .run({ ...next(), to: "nowhere" });
    run.assertCompensated("charge", "reserve");
    check(run, false);
  });
});
