from __future__ import annotations

import secrets

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from goconductor import Client, Refused, Service, current_attempt
from goconductor.opentelemetry import ClientInterceptor, interceptor
from goconductor.testing import Server


async def test_spans_of_actions_belong_to_the_trace_of_the_start(server: Server) -> None:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    shop = Service("shop")
    parents: list[str] = []

    @shop.action
    async def work() -> None:
        parents.append(current_attempt().traceparent)
        raise Refused("NO", "the test says so")

    async with Client(
        server.url,
        namespace=f"t-{secrets.token_hex(8)}",
        interceptors=[interceptor(provider)],
        channel_interceptors=[ClientInterceptor()],
    ) as client:
        await client.apply("shop", "workflow: shop\nsteps: [ { name: a, run: shop/work, compensate: none } ]\n")
        worker = await client.serve(shop)
        await worker.connected()
        with provider.get_tracer("test").start_as_current_span("order") as order:
            handle = await client.start("shop")
        await handle.result()
    span = next(each for each in exporter.get_finished_spans() if each.name == "shop/work")
    assert span.context is not None
    assert span.parent is not None
    assert span.attributes is not None
    assert parents[0].startswith(f"00-{span.context.trace_id:032x}-{span.parent.span_id:016x}-")
    assert span.context.trace_id == order.get_span_context().trace_id
    assert span.attributes["goconductor.workflow.id"] == handle.id
    assert (span.attributes["goconductor.outcome"], span.attributes["error.type"]) == ("refused", "NO")
    assert span.status.description == "NO: the test says so"
