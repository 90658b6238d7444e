// Package otelconductor records OpenTelemetry spans in the traces of workflows.
//
//	client, err := goconductor.Connect(url,
//		goconductor.WithInterceptors(otelconductor.Interceptor()),
//		goconductor.WithDialOptions(otelconductor.DialOptions()...),
//	)
package otelconductor

import (
	"context"
	"encoding/json"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/goconductor/goconductor/sdk/go"
)

// scope is the name of the instrumentation.
const scope = "github.com/goconductor/goconductor/sdk/go/otelconductor"

// Option is an option of [Interceptor].
type Option func(*settings)

type settings struct{ provider trace.TracerProvider }

// WithTracerProvider sets the provider (default: the global one).
func WithTracerProvider(provider trace.TracerProvider) Option {
	return func(s *settings) { s.provider = provider }
}

func tracer(options []Option) trace.Tracer {
	config := settings{provider: otel.GetTracerProvider()}
	for _, option := range options {
		option(&config)
	}
	return config.provider.Tracer(scope)
}

// The W3C trace context is part of the contract, regardless of the global propagator.
var propagator = propagation.TraceContext{}

// Interceptor records a span for each action, as a child of the span of its attempt in the executor.
func Interceptor(options ...Option) goconductor.Interceptor {
	tracer := tracer(options)
	return func(next goconductor.Handler) goconductor.Handler {
		return func(ctx context.Context, input json.RawMessage) (json.RawMessage, error) {
			attempt := goconductor.AttemptOf(ctx)
			parent := propagator.Extract(ctx, propagation.MapCarrier{
				"traceparent": attempt.Traceparent(), "tracestate": attempt.Tracestate(),
			})
			ctx, span := tracer.Start(parent, attempt.Service()+"/"+attempt.Action(),
				trace.WithSpanKind(trace.SpanKindServer),
				trace.WithAttributes(
					attribute.String("rpc.system", "grpc"),
					attribute.String("rpc.service", "goconductor.v1.WorkerService"),
					attribute.String("rpc.method", "Connect"),
					attribute.String("goconductor.workflow.id", attempt.WorkflowID()),
					attribute.String("goconductor.step", attempt.Step()),
					attribute.String("goconductor.operation", string(attempt.Operation())),
					attribute.Int("goconductor.attempt", attempt.Number()),
				),
			)
			defer span.End()
			output, err := next(ctx, input)
			if err != nil {
				outcome := goconductor.AsActionError(err)
				span.SetAttributes(
					attribute.String("goconductor.outcome", outcome.Kind.String()),
					attribute.String("error.type", outcome.Code),
				)
				span.SetStatus(codes.Error, outcome.Error())
			}
			return output, err
		}
	}
}

// DialOptions sends the trace context of calls to the gateway, so that a workflow belongs to the trace of its start.
func DialOptions() []grpc.DialOption {
	return []grpc.DialOption{grpc.WithChainUnaryInterceptor(inject)}
}

func inject(
	ctx context.Context, method string, request, reply any, conn *grpc.ClientConn, invoke grpc.UnaryInvoker,
	options ...grpc.CallOption,
) error {
	carrier := propagation.MapCarrier{}
	propagator.Inject(ctx, carrier)
	for key, value := range carrier {
		ctx = metadata.AppendToOutgoingContext(ctx, key, value)
	}
	return invoke(ctx, method, request, reply, conn, options...)
}
