package otelconductor_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/goconductor/goconductor/sdk/go"
	"github.com/goconductor/goconductor/sdk/go/gctest"
	"github.com/goconductor/goconductor/sdk/go/otelconductor"
)

func TestSpansOfActionsBelongToTheTraceOfTheStart(t *testing.T) {
	t.Parallel()
	recorder := tracetest.NewSpanRecorder()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(recorder))
	client := gctest.Start(t).Client(t,
		goconductor.WithInterceptors(otelconductor.Interceptor(otelconductor.WithTracerProvider(provider))),
		goconductor.WithDialOptions(otelconductor.DialOptions()...),
	)
	var traceparent string
	workflow := goconductor.Workflow{Name: "Order", Steps: []goconductor.WorkflowStep{
		{Name: "Charge", Execute: func(ctx context.Context) error {
			traceparent = goconductor.AttemptOf(ctx).Traceparent()
			if !trace.SpanContextFromContext(ctx).IsValid() {
				t.Error("the action has no span")
			}
			return nil
		}},
		{Name: "Ship", Execute: func(context.Context) error { return goconductor.Refused("NO_ADDRESS", "no address") }},
	}}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	ctx, start := provider.Tracer("test").Start(ctx, "order")
	handle, err := client.StartWorkflow(ctx, workflow)
	start.End()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := handle.Result(ctx); err != nil {
		t.Fatal(err)
	}
	spans := map[string]sdktrace.ReadOnlySpan{}
	for _, span := range recorder.Ended() {
		spans[span.Name()] = span
	}
	charge, ship := spans["order/charge"], spans["order/ship"]
	if charge == nil || ship == nil {
		t.Fatalf("the spans are %v", spans)
	}
	parent := strings.Split(traceparent, "-")
	if charge.SpanContext().TraceID() != start.SpanContext().TraceID() || charge.Parent().SpanID().String() != parent[2] ||
		charge.SpanKind() != trace.SpanKindServer {
		t.Errorf("the span is %v with the parent %v; the start is %v, the attempt %s",
			charge.SpanContext(), charge.Parent(), start.SpanContext(), traceparent)
	}
	if status := ship.Status(); status.Code != codes.Error || !strings.Contains(status.Description, "NO_ADDRESS") {
		t.Errorf("the status of the refused action is %v", status)
	}
}
