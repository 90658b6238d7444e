import { Client, type Description, type Failure, type Handle, RawJson } from "@goconductor/sdk";

/** A call of the client that a scenario asks for. */
export interface Call {
  call: string;
  name: string;
  definition: string;
  workflow: string;
  input?: unknown;
  key?: string;
  labels?: Record<string, string>;
  filter?: string;
  cron?: string;
  reason?: string;
}

/** Calls the client. The result has the names of the REST API. */
export async function callClient(call: Call, gateway: string, namespace: string): Promise<unknown> {
  const client = new Client(gateway, { namespace });
  try {
    return await run(call, client);
  } finally {
    await client.close();
  }
}

async function run(call: Call, client: Client): Promise<unknown> {
  const handle = client.workflow(call.workflow);
  const reason = call.reason ?? "";
  switch (call.call) {
    case "apply": {
      const { version, created } = await client.apply(call.name, call.definition);
      return { version, created };
    }
    case "start": {
      const started = await client.start(call.name, { input: call.input, key: call.key ?? "", labels: call.labels ?? {} });
      return { id: started.id, replayed: started.replayed };
    }
    case "result": {
      const { status, cause, outputJson, failure } = await handle.result();
      return { status, cause, output: raw(outputJson), error: failureOf(failure) };
    }
    case "describe":
      return describe(await handle.describe());
    case "signal":
      await handle.signal(call.name, call.input);
      return {};
    case "cancel":
      await handle.cancel(reason);
      return {};
    case "watch":
      return { types: await watch(handle) };
    case "list": {
      const ids: string[] = [];
      // A small page, so that the pages are followed.
      for await (const workflow of client.list({ filter: call.filter ?? "", pageSize: 2 })) {
        ids.push(workflow.id);
      }
      return { ids, count: ids.length };
    }
    case "put_schedule": {
      const spec = { definition: call.definition, cron: call.cron ?? "", input: call.input };
      const { name, cron, paused } = await client.schedules.put(call.name, spec);
      return { name, cron, paused };
    }
    case "get_schedule": {
      const { name, cron, paused } = await client.schedules.get(call.name);
      return { name, cron, paused };
    }
    case "pause_schedule":
      await client.schedules.pause(call.name, reason);
      return {};
    case "delete_schedule":
      await client.schedules.delete(call.name);
      return {};
    case "trigger_schedule":
      return { id: await client.schedules.trigger(call.name) };
    default:
      throw new Error(`unknown call ${call.call}`);
  }
}

async function watch(handle: Handle): Promise<string[]> {
  const types: string[] = [];
  for await (const event of handle.watch()) {
    types.push(event.type);
    if (event.seq !== BigInt(types.length)) {
      throw new Error(`event ${types.length} has the number ${event.seq}`);
    }
  }
  return types;
}

function describe(described: Description): unknown {
  const steps = described.steps.map((step) => [
    step.name, { status: step.status, attempts: step.attempts, output: raw(step.outputJson) },
  ]);
  return {
    id: described.id, definition: described.definition, version: described.version, status: described.status,
    input: raw(described.inputJson), labels: described.labels, idempotency_key: described.idempotencyKey,
    steps: Object.fromEntries(steps) as unknown, waiting_on: described.waitingOn.map((waiting) => waiting.kind),
  };
}

function failureOf(failure: Failure | undefined): unknown {
  return failure && { code: failure.code, message: failure.message, detail: raw(failure.detailJson) };
}

function raw(json: string): RawJson {
  return new RawJson(json === "" ? "null" : json);
}
