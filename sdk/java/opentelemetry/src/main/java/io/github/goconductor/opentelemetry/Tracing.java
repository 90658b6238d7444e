package io.github.goconductor.opentelemetry;

import io.github.goconductor.ActionException;
import io.github.goconductor.Attempt;
import io.github.goconductor.Client;
import io.github.goconductor.Handler;
import io.github.goconductor.Interceptor;
import io.grpc.CallOptions;
import io.grpc.Channel;
import io.grpc.ClientCall;
import io.grpc.ClientInterceptor;
import io.grpc.ForwardingClientCall;
import io.grpc.Metadata;
import io.grpc.MethodDescriptor;
import io.opentelemetry.api.OpenTelemetry;
import io.opentelemetry.api.trace.Span;
import io.opentelemetry.api.trace.SpanKind;
import io.opentelemetry.api.trace.StatusCode;
import io.opentelemetry.api.trace.Tracer;
import io.opentelemetry.api.trace.propagation.W3CTraceContextPropagator;
import io.opentelemetry.context.Context;
import io.opentelemetry.context.propagation.TextMapGetter;
import java.util.List;

/** Records spans in the traces of workflows. */
public final class Tracing {
    /** The name of the instrumentation. */
    private static final String SCOPE = "io.github.goconductor.opentelemetry";
    // The W3C trace context is part of the contract, regardless of the propagator of the program.
    private static final W3CTraceContextPropagator PROPAGATOR = W3CTraceContextPropagator.getInstance();

    private static final TextMapGetter<Attempt> GETTER = new TextMapGetter<>() {
        @Override
        public Iterable<String> keys(Attempt attempt) {
            return List.of("traceparent", "tracestate");
        }

        @Override
        public String get(Attempt attempt, String key) {
            String value = switch (key) {
                case "traceparent" -> attempt.traceparent();
                case "tracestate" -> attempt.tracestate();
                default -> "";
            };
            return value.isEmpty() ? null : value;
        }
    };

    private Tracing() {}

    /**
     * Adds the interceptors of actions and of calls to the settings of a client.
     *
     * @param builder the settings
     * @param telemetry the OpenTelemetry of the program
     * @return the settings
     */
    public static Client.Builder apply(Client.Builder builder, OpenTelemetry telemetry) {
        return builder.intercept(interceptor(telemetry)).interceptCalls(callInterceptor());
    }

    /**
     * Returns an interceptor that records a span for each action, as a child of the span of its attempt in the executor.
     *
     * @param telemetry the OpenTelemetry of the program
     * @return the interceptor
     */
    public static Interceptor interceptor(OpenTelemetry telemetry) {
        Tracer tracer = telemetry.getTracer(SCOPE);
        return next -> (attempt, input) -> traced(tracer, next, attempt, input);
    }

    private static String traced(Tracer tracer, Handler next, Attempt attempt, String input) throws Exception {
        Context parent = PROPAGATOR.extract(Context.root(), attempt, GETTER);
        Span span = tracer.spanBuilder(attempt.service() + "/" + attempt.action())
                .setParent(parent)
                .setSpanKind(SpanKind.SERVER)
                .setAttribute("rpc.system", "grpc")
                .setAttribute("rpc.service", "goconductor.v1.WorkerService")
                .setAttribute("rpc.method", "Connect")
                .setAttribute("goconductor.workflow.id", attempt.workflowId())
                .setAttribute("goconductor.step", attempt.step())
                .setAttribute("goconductor.operation", attempt.operation().toString())
                .setAttribute("goconductor.attempt", attempt.number())
                .startSpan();
        try {
            return parent.with(span).wrap(() -> next.handle(attempt, input)).call();
        } catch (Exception | Error e) {
            ActionException outcome = ActionException.of(e);
            span.setAttribute("goconductor.outcome", outcome.kind().name().toLowerCase(java.util.Locale.ROOT));
            span.setAttribute("error.type", outcome.code());
            span.setStatus(StatusCode.ERROR, String.valueOf(outcome.getMessage()));
            throw e;
        } finally {
            span.end();
        }
    }

    /**
     * Returns an interceptor that sends the trace context of calls to the gateway, so that a workflow belongs to the trace of
     * its start.
     *
     * @return the interceptor
     */
    public static ClientInterceptor callInterceptor() {
        return new ClientInterceptor() {
            @Override
            public <Q, R> ClientCall<Q, R> interceptCall(MethodDescriptor<Q, R> method, CallOptions options, Channel next) {
                Context caller = Context.current();
                return new ForwardingClientCall.SimpleForwardingClientCall<Q, R>(next.newCall(method, options)) {
                    @Override
                    public void start(Listener<R> listener, Metadata headers) {
                        PROPAGATOR.inject(caller, headers, (to, key, value) ->
                                to.put(Metadata.Key.of(key, Metadata.ASCII_STRING_MARSHALLER), value));
                        super.start(listener, headers);
                    }
                };
            }
        };
    }
}
