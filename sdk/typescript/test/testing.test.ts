import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";

import { type Interceptor, Refused, Service, step, type Workflow } from "@goconductor/sdk";
import { faults, onCompensate, onExecute, Saga, type Server, startServer } from "@goconductor/sdk/testing";

interface Order {
  sku: string;
}

/** A step whose attempts time out soon. */
function orderStep(name: string) {
  return step<Order, string>({
    name,
    timeoutMs: 1000,
    retry: { maxAttempts: 3, initialMs: 10 },
    execute: ({ sku }) => {
      if (name === "Reserve" && sku === "sold-out") {
        throw new Refused("SOLD_OUT", "no item is left");
      }
      return name;
    },
    compensate: ({ output }) => {
      assert.ok(output === null || output === name, `the output is ${output}`);
    },
  });
}

const order: Workflow<Order> = { name: "Order", steps: [orderStep("Charge"), orderStep("Reserve")] };

void describe("test kit", { concurrency: true }, () => {
  let server: Server;
  before(async () => { server = await startServer(); });
  after(async () => { await server.stop(); });

  void it("runs a saga that completes, and one that rolls back", async () => {
    const saga = Saga.of(server, order);
    let run = await saga.run({ sku: "book" });
    run.assertStatus("COMPLETED");
    run.assertExecuted("charge", "reserve");
    run.assertCompensated();
    run = await saga.run({ sku: "sold-out" });
    run.assertStatus("ROLLED_BACK");
    run.assertExecuted("charge");
    run.assertCompensated("charge");
    run.assertNothingStands();
    assert.equal(run.description.failure?.code, "SOLD_OUT");
    assert.throws(() => { run.assertStatus("COMPLETED"); }, /STEP_COMPENSATED charge/);
  });

  for (const fault of faults) {
    void it(`leaves no effect after the fault ${fault} at each step`, async () => {
      const saga = Saga.of(server, order);
      await saga.everywhere({ sku: "book" }, [onExecute("charge"), onExecute("reserve")], (run) => {
        run.assertStatus(fault === "refuse" ? "ROLLED_BACK" : "COMPLETED");
        run.assertNothingStands();
        run.assertSameKeys();
      }, [fault]);
    });
  }

  void it("compensates a step in doubt", async () => {
    const run = await Saga.of(server, order).inject(onExecute("reserve").every(), "unknown").run({ sku: "book" });
    run.assertStatus("ROLLED_BACK");
    run.assertExecuted("charge");
    run.assertCompensated("reserve", "charge");
    run.assertNothingStands();
    assert.equal(run.calls.length, 6);
  });

  void it("ends at a compensation that waits for an operator", async () => {
    const definition = `
workflow: order
steps:
  - name: charge
    run: shop/charge
    compensate: { run: shop/refund, retry: { max_attempts: 2, initial: 10ms } }
  - { name: ship, run: shop/ship, compensate: none }
`;
    const none = (): null => null;
    const shop = new Service("shop").action("charge", none).action("refund", none).action("ship", none);
    const run = await Saga.ofDefinition(server, "order", definition, shop)
      .inject(onExecute("ship"), "refuse")
      .inject(onCompensate("charge").every(), "fail")
      .run();
    run.assertStatus("ERROR");
    assert.deepEqual(run.standing, ["charge"]);
  });

  void it("calls interceptors from the outside, and refuses an input that the action does not accept", async () => {
    const order: string[] = [];
    const named = (name: string): Interceptor => (next) => async (inputJson, attempt) => {
      order.push(name);
      return await next(inputJson, attempt);
    };
    const parse = (input: unknown): Order => {
      assert.ok(typeof input === "object" && input !== null && "sku" in input, "the order has no sku");
      return { sku: String(input.sku) };
    };
    const shop = new Service("shop", { interceptors: [named("outer"), named("inner")] })
      .pair("charge", ({ sku }) => 9007199254740993n + BigInt(sku.length), "refund", () => undefined, { parse });
    const definition = "workflow: order\nsteps: [ { name: charge, run: shop/charge, compensate: shop/refund } ]\n";
    const saga = Saga.ofDefinition(server, "order", definition, shop);
    let run = await saga.run({ sku: "book" });
    run.assertStatus("COMPLETED");
    assert.equal(run.description.steps[0]?.outputJson, "9007199254740997");
    assert.deepEqual(order, ["outer", "inner"]);
    run = await saga.run({});
    run.assertStatus("ROLLED_BACK");
    assert.deepEqual(run.description.failure, { code: "BAD_INPUT", message: "the order has no sku", detailJson: "" });
  });

  void it("signals and cancels", async () => {
    const definition = `
workflow: order
steps:
  - { name: charge, run: shop/charge, compensate: shop/refund }
  - { name: approval, wait_for_signal: { signal: approved }, timeout: 20s }
output: { by: "\${ signals.approved.by }" }
`;
    const shop = new Service("shop").pair<Order, string>("charge", () => "p1", "refund", () => undefined);
    const saga = Saga.ofDefinition(server, "order", definition, shop);
    let run = await saga.signal("approved", { by: "Zoë" }).run({});
    run.assertStatus("COMPLETED");
    assert.equal(run.description.outputJson, '{"by":"Zoë"}');
    run = await saga.cancelAfter("charge").run({});
    run.assertStatus("ROLLED_BACK");
    run.assertCompensated("charge");
  });
});
