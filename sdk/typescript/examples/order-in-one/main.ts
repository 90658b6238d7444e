// The order saga in one program: two steps, each with its compensation.
import { close, Refused, startWorkflow, type Workflow } from "@goconductor/sdk";

const say = (text: string) => () => { console.log(text); };

const workflow: Workflow<string> = {
  name: "Order Processing",
  steps: [
    { name: "Process Payment", execute: say("charged"), compensate: say("refunded") },
    { name: "Update Inventory", execute: reserve, compensate: say("released") },
  ],
};

function reserve(sku: string): void {
  if (sku === "sold-out") {
    throw new Refused("SOLD_OUT", "the item is sold out");
  }
}

for (const sku of ["book", "sold-out"]) {
  const order = await startWorkflow(workflow, { input: sku });
  console.log(sku, (await order.result()).status);
}
await close();
