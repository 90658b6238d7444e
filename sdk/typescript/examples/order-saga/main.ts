// The services inventory, payments and shipping of examples/order-saga in TypeScript: typed actions with their compensations,
// a database each, and an inbox in it.
//
//   node build/examples/order-saga/main.js --service payments --data payments.db
import { parseArgs } from "node:util";

import { Client } from "@goconductor/sdk";

import { open } from "./database.js";
import { inventory, payments, shipping } from "./services.js";

const { values } = parseArgs({
  options: { service: { type: "string", default: "payments" }, data: { type: "string", default: "participant.db" } },
});
const create = new Map([["inventory", inventory], ["payments", payments], ["shipping", shipping]]).get(values.service);
if (create === undefined) {
  throw new Error(`unknown service ${values.service}: use inventory, payments or shipping`);
}
const { db, inbox } = await open(values.data);
const client = Client.fromEnvironment();
await client.run([create(inbox)]);
await client.close();
db.close();
