/**
 * Records OpenTelemetry spans in the traces of workflows.
 *
 * ```ts
 * const client = new Client(url, { interceptors: [traceActions()], grpcInterceptors: [traceCalls()] });
 * ```
 *
 * @packageDocumentation
 */
import { InterceptingCall, type Interceptor as GrpcInterceptor } from "@grpc/grpc-js";
import {
  context, createTraceState, isSpanContextValid, type Span, SpanKind, SpanStatusCode, trace, type TracerProvider,
} from "@opentelemetry/api";

import type { Attempt } from "./attempt.js";
import { asActionError } from "./errors.js";
import type { Interceptor } from "./service.js";

/** The name of the instrumentation. */
const scope = "@goconductor/sdk/otel";

/** The options of {@link traceActions}. */
export interface TraceOptions {
  /** The provider of tracers (default: the global one). */
  tracerProvider?: TracerProvider;
}

/** Returns an interceptor that records a span for each action, as a child of the span of its attempt in the executor. */
export function traceActions(options: TraceOptions = {}): Interceptor {
  const tracer = (options.tracerProvider ?? trace).getTracer(scope);
  return (next) => async (inputJson, attempt) => {
    const settings = {
      kind: SpanKind.SERVER,
      attributes: {
        "rpc.system": "grpc",
        "rpc.service": "goconductor.v1.WorkerService",
        "rpc.method": "Connect",
        "goconductor.workflow.id": attempt.workflowId,
        "goconductor.step": attempt.step,
        "goconductor.operation": attempt.operation,
        "goconductor.attempt": attempt.number,
      },
    };
    return await tracer.startActiveSpan(`${attempt.service}/${attempt.action}`, settings, parentOf(attempt), async (span) => {
      try {
        return await next(inputJson, attempt);
      } catch (thrown) {
        recordOutcome(span, thrown);
        throw thrown;
      } finally {
        span.end();
      }
    });
  };
}

function recordOutcome(span: Span, thrown: unknown): void {
  const error = asActionError(thrown);
  span.setAttributes({ "goconductor.outcome": error.outcome, "error.type": error.code });
  span.setStatus({ code: SpanStatusCode.ERROR, message: error.message });
}

/** The W3C trace context is part of the contract, regardless of the global propagator. */
const traceparent = /^[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?$/;

function parentOf(attempt: Attempt): ReturnType<typeof context.active> {
  const [, traceId, spanId, flags] = traceparent.exec(attempt.traceparent) ?? [];
  if (traceId === undefined || spanId === undefined || flags === undefined) {
    return context.active();
  }
  return trace.setSpanContext(context.active(), {
    traceId,
    spanId,
    traceFlags: Number.parseInt(flags, 16),
    isRemote: true,
    ...attempt.tracestate === "" ? {} : { traceState: createTraceState(attempt.tracestate) },
  });
}

/**
 * Returns an interceptor that sends the trace context of calls to the gateway, so that a workflow belongs to the trace of its
 * start.
 */
export function traceCalls(): GrpcInterceptor {
  return (options, nextCall) => {
    const current = trace.getSpanContext(context.active());
    return new InterceptingCall(nextCall(options), {
      start: (metadata, listener, next) => {
        if (current !== undefined && isSpanContextValid(current)) {
          const flags = current.traceFlags.toString(16).padStart(2, "0");
          metadata.set("traceparent", `00-${current.traceId}-${current.spanId}-${flags}`);
          const state = current.traceState?.serialize() ?? "";
          if (state !== "") {
            metadata.set("tracestate", state);
          }
        }
        next(metadata, listener);
      },
    });
  };
}
