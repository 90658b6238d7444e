"""OpenTelemetry spans in the traces of workflows.

client = Client(url, interceptors=[interceptor()], channel_interceptors=[ClientInterceptor()])
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grpc
from opentelemetry import trace
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from ._attempt import Attempt
from ._service import Handler, Interceptor
from .errors import as_action_error

_SCOPE = "goconductor.opentelemetry"
"""The name of the instrumentation."""
_PROPAGATOR = TraceContextTextMapPropagator()
"""The W3C trace context is part of the contract, regardless of the global propagator."""


def interceptor(provider: trace.TracerProvider | None = None) -> Interceptor:
    """Return an interceptor that records a span for each action, as a child of the span of its attempt in the executor.

    The spans are those of the provider (default: the global one).
    """
    tracer = trace.get_tracer(_SCOPE, tracer_provider=provider)

    def intercept(proceed: Handler) -> Handler:
        async def handler(attempt: Attempt, text: str) -> str:
            parent = _PROPAGATOR.extract({"traceparent": attempt.traceparent, "tracestate": attempt.tracestate})
            with tracer.start_as_current_span(
                f"{attempt.service}/{attempt.action}",
                parent,
                trace.SpanKind.SERVER,
                {
                    "rpc.system": "grpc",
                    "rpc.service": "goconductor.v1.WorkerService",
                    "rpc.method": "Connect",
                    "goconductor.workflow.id": attempt.workflow_id,
                    "goconductor.step": attempt.step,
                    "goconductor.operation": attempt.operation.value,
                    "goconductor.attempt": attempt.number,
                },
                record_exception=False,
                set_status_on_exception=False,
            ) as span:
                try:
                    return await proceed(attempt, text)
                except BaseException as error:
                    outcome = as_action_error(error, attempt.cause)
                    span.set_attribute("goconductor.outcome", outcome.kind.value)
                    span.set_attribute("error.type", outcome.code)
                    span.set_status(trace.StatusCode.ERROR, str(outcome))
                    raise

        return handler

    return intercept


class ClientInterceptor(grpc.aio.UnaryUnaryClientInterceptor):
    """Sends the trace context of calls to the gateway, so that a workflow belongs to the trace of its start."""

    async def intercept_unary_unary(
        self,
        continuation: Callable[[grpc.aio.ClientCallDetails, Any], Any],
        client_call_details: grpc.aio.ClientCallDetails,
        request: Any,
    ) -> Any:
        """Add the trace context to a call."""
        carrier: dict[str, str] = {}
        _PROPAGATOR.inject(carrier)
        metadata = client_call_details.metadata
        if metadata is not None:
            for key, value in carrier.items():
                metadata.add(key, value)
        return await continuation(client_call_details, request)
