// The driver of the TypeScript SDK for the conformance suite. sdk/conformance/README.md documents the protocol.
import { createInterface } from "node:readline";

import { Client, decodeJson, encodeJson, GoConductorError, Service, type Worker } from "@goconductor/sdk";

import { Box } from "./box.js";
import { type Call, callClient } from "./client.js";
import { Actions, type Script } from "./script.js";

/** A request of the runner. */
interface Request extends Call {
  id: number;
  op: string;
  gateway: string;
  namespace: string;
  executors?: string[];
  service: string;
  capacity: number;
  limits?: Record<string, number>;
  actions: Record<string, Script[]>;
  database: string;
  broken?: string;
  quiet?: boolean;
  gate: string;
}

function write(message: unknown): void {
  process.stdout.write(`${encodeJson(message)}\n`);
}

const actions = new Actions(write);
let worker: Worker | undefined;

/** Connects the service with the actions of the scenario. */
async function serve(request: Request): Promise<void> {
  actions.broken = request.broken ?? "";
  actions.quiet = request.quiet ?? false;
  actions.box = await Box.open(request.database, actions.broken);
  const client = new Client(request.gateway, { namespace: request.namespace, executors: request.executors ?? [] });
  const service = new Service(request.service, { capacity: request.capacity, version: "1.0.0" });
  for (const [name, scripts] of Object.entries(request.actions)) {
    const limit = request.limits?.[name];
    service.handle(name, actions.handler(scripts), limit === undefined ? {} : { maxInFlight: limit });
  }
  worker = client.serve(service);
  await worker.connected();
}

async function handle(request: Request): Promise<unknown> {
  switch (request.op) {
    case "hello":
      return { sdk: "typescript", capabilities: ["inbox", "client", "drops_expired"] };
    case "serve":
      await serve(request);
      return {};
    case "drain":
      await worker?.shutdown();
      return {};
    case "release":
      actions.gate(request.gate).open();
      return {};
    case "effects":
      return { effects: actions.box?.effects() };
    case "client":
      return await callClient(request, request.gateway, request.namespace);
    default:
      throw new Error(`unknown operation ${request.op}`);
  }
}

function describe(error: unknown): unknown {
  const message = error instanceof Error ? error.message : String(error);
  if (error instanceof GoConductorError) {
    return { message, kind: error.kind === "no_executor" ? "other" : error.kind, code: error.code };
  }
  return { message, kind: "other" };
}

const lines = createInterface({ input: process.stdin });
lines.on("line", (line) => {
  const request = decodeJson(line) as Request;
  handle(request).then(
    (result) => { write({ id: request.id, result }); },
    (error: unknown) => { write({ id: request.id, error: describe(error) }); },
  );
});
lines.on("close", () => { process.exit(0); });
