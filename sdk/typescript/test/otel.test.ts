import assert from "node:assert/strict";
import { after, before, it } from "node:test";

import { context, trace } from "@opentelemetry/api";
import { AsyncLocalStorageContextManager } from "@opentelemetry/context-async-hooks";
import { BasicTracerProvider, InMemorySpanExporter, SimpleSpanProcessor } from "@opentelemetry/sdk-trace-base";

import { Refused, Service } from "@goconductor/sdk";
import { traceActions, traceCalls } from "@goconductor/sdk/otel";
import { type Server, startServer } from "@goconductor/sdk/testing";

let server: Server;
before(async () => { server = await startServer(); });
after(async () => { await server.stop(); });

void it("spans of actions belong to the trace of the start", async (t) => {
  const exporter = new InMemorySpanExporter();
  const provider = new BasicTracerProvider({ spanProcessors: [new SimpleSpanProcessor(exporter)] });
  context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable());
  const client = server.client({
    interceptors: [traceActions({ tracerProvider: provider })], grpcInterceptors: [traceCalls()],
  });
  let active: string | undefined;
  const shop = new Service("shop")
    .action("charge", () => {
      active = trace.getActiveSpan()?.spanContext().spanId;
      return "p-1";
    })
    .action("refund", () => null)
    .action("ship", () => { throw new Refused("NO_ADDRESS", "the order has no address"); });
  const worker = client.serve(shop);
  t.after(async () => {
    await worker.close();
    await client.close();
  });
  await worker.connected();
  await client.apply("order", `
workflow: order
steps:
  - { name: charge, run: shop/charge, compensate: shop/refund }
  - { name: ship, run: shop/ship, compensate: none }
`);
  const traceId = await provider.getTracer("test").startActiveSpan("start", async (span) => {
    const handle = await client.start("order");
    await handle.result({ signal: AbortSignal.timeout(30_000) });
    span.end();
    return span.spanContext().traceId;
  });
  await worker.shutdown();
  const spans = exporter.getFinishedSpans().filter((span) => span.name !== "start");
  assert.deepEqual(spans.map((span) => span.name), ["shop/charge", "shop/ship", "shop/refund"]);
  for (const span of spans) {
    assert.equal(span.spanContext().traceId, traceId);
    assert.notEqual(span.parentSpanContext?.spanId, undefined);
  }
  assert.equal(spans[0]?.spanContext().spanId, active);
  assert.equal(spans[1]?.attributes["goconductor.outcome"], "refused");
  assert.equal(spans[1].attributes["error.type"], "NO_ADDRESS");
});
