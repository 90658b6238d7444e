import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";

import { Service } from "@goconductor/sdk";
import { onExecute, Saga, type Server, startServer } from "@goconductor/sdk/testing";

const dayMs = 24 * 3600 * 1000;
const trial = `
workflow: trial
steps:
  - { name: open, run: shop/open, compensate: shop/close }
  - { name: wait, sleep: 30d }
  - { name: charge, run: shop/charge, compensate: none, retry: { max_attempts: 3, initial: 1h, max: 1h } }
`;

// One after another, because all tests of a server share its clock.
void describe("virtual time", () => {
  let server: Server;
  before(async () => { server = await startServer({ virtualTime: true }); });
  after(async () => { await server.stop(); });

  void it("passes thirty days at once", async () => {
    const began = performance.now();
    const none = (): null => null;
    const shop = new Service("shop").action("open", none).action("close", none).action("charge", none);
    const saga = Saga.ofDefinition(server, "trial", trial, shop);
    let run = await saga.inject(onExecute("charge").numbers(1, 2), "fail").run();
    run.assertStatus("COMPLETED");
    run.assertExecuted("open", "wait", "charge");
    const [first, last] = [run.events[0]?.time, run.events.at(-1)?.time];
    assert.ok(first !== undefined && last !== undefined && last.getTime() - first.getTime() >= 30 * dayMs, run.timeline);
    run = await saga.cancelAfter("open").run();
    run.assertStatus("ROLLED_BACK");
    run.assertExecuted("open");
    run.assertCompensated("open");
    // A limit that a busy machine keeps, and 30 days do not.
    assert.ok(performance.now() - began < 30_000);
  });

  void it("starts a schedule at each due time of an advance", async () => {
    const client = server.client();
    try {
      await client.apply("report", "workflow: report\nsteps: [ { name: pause, sleep: 1h } ]\n");
      await client.schedules.put("daily", { definition: "report", cron: "@daily" });
      await server.advance(10 * dayMs);
      const { started, missed } = await client.schedules.get("daily");
      assert.deepEqual([Number(started), Number(missed)], [10, 0]);
      assert.equal((await server.runToEnd(await client.start("report"))).status, "COMPLETED");
    } finally {
      await client.close();
    }
  });

  void it("refuses to move the clock of another server", async () => {
    const other = await startServer();
    try {
      await assert.rejects(other.advance(dayMs), /virtualTime/);
    } finally {
      await other.stop();
    }
  });
});
