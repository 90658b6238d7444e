package goconductor_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/goconductor/goconductor/sdk/go"
	"github.com/goconductor/goconductor/sdk/go/gctest"
)

var server *gctest.Server

func TestMain(m *testing.M) {
	var err error
	if server, err = gctest.StartServer(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	status := m.Run()
	server.Stop()
	os.Exit(status)
}

// client returns a client in a namespace of its own.
func client(t *testing.T, options ...goconductor.Option) *goconductor.Client {
	t.Helper()
	namespace := "t-" + fmt.Sprint(time.Now().UnixNano())
	return server.Client(t, append([]goconductor.Option{goconductor.WithNamespace(namespace)}, options...)...)
}

func serve(t *testing.T, client *goconductor.Client, service *goconductor.Service) *goconductor.Worker {
	t.Helper()
	worker, err := client.Serve(service)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(worker.Close)
	if err := worker.Connected(t.Context()); err != nil {
		t.Fatal(err)
	}
	return worker
}

func apply(t *testing.T, client *goconductor.Client, step string) {
	t.Helper()
	definition := "workflow: shop\nsteps:\n  - { " + step + ", retry: { max_attempts: 6, initial: 10ms } }\n"
	if _, err := client.Apply(t.Context(), "shop", []byte(definition)); err != nil {
		t.Fatal(err)
	}
}

func run(t *testing.T, client *goconductor.Client, input any) *goconductor.Result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	handle, err := client.Start(ctx, "shop", goconductor.WithInput(input))
	if err != nil {
		t.Fatal(err)
	}
	result, err := handle.Result(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return result
}

type charge struct {
	Amount int64 `json:"amount"`
}

type receipt struct {
	Charged int64 `json:"charged"`
}

func TestEachKindOfErrorIsRetriedOrRollsBack(t *testing.T) {
	t.Parallel()
	client := client(t)
	var attempts atomic.Int32
	shop := goconductor.NewService("shop", goconductor.Version("1.2.3"), goconductor.Capacity(2))
	goconductor.Action(shop, "charge", func(ctx context.Context, input charge) (receipt, error) {
		number := attempts.Add(1)
		if attempt := goconductor.AttemptOf(ctx); attempt.Number() != int(number) {
			t.Errorf("attempt %d has the number %d", number, attempt.Number())
		}
		switch {
		case input.Amount == 2:
			return receipt{}, fmt.Errorf("wrapped: %w", goconductor.Refused("LIMIT", "too much").WithDetail(input))
		case number == 1:
			return receipt{}, goconductor.RetryAfter("BUSY", "later", 100*time.Millisecond)
		case number == 2:
			return receipt{}, goconductor.Unknown("LOST", "the response was lost")
		case number == 3:
			panic("the test says so")
		case number == 4:
			return receipt{}, errors.New("something went wrong")
		default:
			return receipt{Charged: input.Amount}, nil
		}
	})
	serve(t, client, shop)
	apply(t, client, "name: charge, run: shop/charge, compensate: none")
	if result := run(t, client, charge{1}); result.Status != goconductor.StatusCompleted {
		t.Errorf("ended %s: %v", result.Status, result.Failure)
	}
	if count := attempts.Swap(0); count != 5 {
		t.Errorf("%d attempts", count)
	}
	result := run(t, client, charge{2})
	if result.Status != goconductor.StatusRolledBack || result.Failure.Code != "LIMIT" ||
		string(result.Failure.Detail) != `{"amount":2}` || attempts.Load() != 1 {
		t.Errorf("a refusal ended %s: %v, %s, %d attempts", result.Status, result.Failure, result.Failure.Detail, attempts.Load())
	}
	result = run(t, client, map[string]string{"amount": "much"})
	if result.Status != goconductor.StatusRolledBack || result.Failure.Code != "BAD_INPUT" {
		t.Errorf("an input of another type ended %s: %v", result.Status, result.Failure)
	}
}

func TestErrorOfAStepRollsACodeFirstWorkflowBack(t *testing.T) {
	t.Parallel()
	client := client(t)
	var undone []string
	undo := func(name string) goconductor.StepFunc {
		return func(context.Context) error { undone = append(undone, name); return nil }
	}
	workflow := goconductor.Workflow{Name: "Order Processing", Steps: []goconductor.WorkflowStep{
		{Name: "Process Payment", Execute: func(ctx context.Context) error {
			input, err := goconductor.Input[charge](ctx)
			return errors.Join(err, goconductor.SetOutput(ctx, receipt{Charged: input.Amount}))
		}, Compensate: func(ctx context.Context) error {
			output, known, err := goconductor.Output[receipt](ctx)
			if err != nil || !known || output.Charged != 42 {
				t.Errorf("the output is %v, %v, %v", output, known, err)
			}
			return undo("payment")(ctx)
		}},
		{Name: "Update Inventory", Execute: func(context.Context) error {
			return errors.New("no connection")
		}, Compensate: undo("inventory")},
	}}
	handle, err := client.StartWorkflow(t.Context(), workflow, goconductor.WithInput(charge{42}))
	if err != nil {
		t.Fatal(err)
	}
	result, err := handle.Result(t.Context())
	if err != nil || result.Status != goconductor.StatusRolledBack || result.Failure.Code != "ERROR" {
		t.Errorf("ended %v, %v", result, err)
	}
	if !slices.Equal(undone, []string{"inventory", "payment"}) {
		t.Errorf("compensated %q", undone)
	}
}

func TestInterceptorsSeeEachAttemptInOrder(t *testing.T) {
	t.Parallel()
	var order []string
	intercept := func(name string) goconductor.Interceptor {
		return func(next goconductor.Handler) goconductor.Handler {
			return func(ctx context.Context, input json.RawMessage) (json.RawMessage, error) {
				order = append(order, name+" "+goconductor.AttemptOf(ctx).Action())
				return next(ctx, input)
			}
		}
	}
	client := client(t, goconductor.WithInterceptors(intercept("client")))
	shop := goconductor.NewService("shop", goconductor.Intercept(intercept("first"), intercept("second")))
	goconductor.Action(shop, "charge", func(ctx context.Context, _ any) (string, error) {
		goconductor.Logger(ctx).Debug("charged")
		return goconductor.AttemptOf(ctx).Traceparent(), nil
	})
	serve(t, client, shop)
	apply(t, client, "name: charge, run: shop/charge, compensate: none")
	run(t, client, nil)
	if !slices.Equal(order, []string{"client charge", "first charge", "second charge"}) {
		t.Errorf("the order is %q", order)
	}
}

func TestProbeResolvesDoubt(t *testing.T) {
	t.Parallel()
	client := client(t)
	shop := goconductor.NewService("shop")
	goconductor.Action(shop, "charge", func(context.Context, any) (any, error) {
		return nil, goconductor.Unknown("LOST", "lost")
	})
	goconductor.Probe(shop, "ask", func(ctx context.Context, _ any) (goconductor.ProbeAnswer[receipt], error) {
		return goconductor.ProbeDone(receipt{7}), nil
	})
	serve(t, client, shop)
	definition := `
workflow: shop
steps:
  - { name: charge, run: shop/charge, compensate: none, probe: shop/ask, retry: { max_attempts: 1 } }
output: { charged: "${ steps.charge.output.charged }" }
`
	if _, err := client.Apply(t.Context(), "shop", []byte(definition)); err != nil {
		t.Fatal(err)
	}
	result := run(t, client, nil)
	var output receipt
	if err := result.Decode(&output); err != nil || result.Status != goconductor.StatusCompleted || output.Charged != 7 {
		t.Errorf("ended %s with %s, %v", result.Status, result.Output, err)
	}
}

func TestRunDrainsWhenItsContextEnds(t *testing.T) {
	t.Parallel()
	client := client(t)
	started, finish := make(chan struct{}), make(chan struct{})
	shop := goconductor.NewService("shop")
	goconductor.Action(shop, "work", func(context.Context, any) (int, error) {
		close(started)
		<-finish
		return 1, nil
	})
	apply(t, client, "name: work, run: shop/work, compensate: none")
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- client.Run(ctx, shop) }()
	handle, err := client.Start(t.Context(), "shop")
	if err != nil {
		t.Fatal(err)
	}
	<-started
	stop()
	select {
	case err := <-ended:
		t.Fatalf("Run ended with a task in flight: %v", err)
	case <-time.After(200 * time.Millisecond):
	}
	close(finish)
	if err := <-ended; err != nil {
		t.Error(err)
	}
	result, err := handle.Result(t.Context())
	if err != nil || result.Status != goconductor.StatusCompleted {
		t.Errorf("ended %v, %v", result, err)
	}
}

func TestMisuseIsRefused(t *testing.T) {
	t.Parallel()
	action := func(context.Context, any) (any, error) { return nil, nil }
	twice := goconductor.NewService("shop")
	wrong := goconductor.NewService("shop")
	unnamed := goconductor.NewService("-shop")
	for _, service := range []*goconductor.Service{twice, twice, unnamed} {
		goconductor.Action(service, "work", action)
	}
	goconductor.Action(wrong, "a/b", action)
	client := client(t)
	for _, service := range []*goconductor.Service{goconductor.NewService("shop"), twice, wrong, unnamed} {
		if _, err := client.Serve(service); !errors.Is(err, goconductor.ErrMisuse) {
			t.Errorf("the service %v: %v", service, err)
		}
	}
	execute := func(context.Context) error { return nil }
	for _, workflow := range []goconductor.Workflow{
		{Name: "Order"},
		{Name: "…", Steps: []goconductor.WorkflowStep{{Name: "Pay", Execute: execute}}},
		{Name: "Order", Steps: []goconductor.WorkflowStep{{Name: "Pay"}}},
	} {
		if _, err := client.StartWorkflow(t.Context(), workflow); !errors.Is(err, goconductor.ErrMisuse) {
			t.Errorf("the workflow %v: %v", workflow, err)
		}
	}
	for _, address := range []string{"", "127.0.0.1:8470", "ftp://host", "http://user:password@host", "http://host/path"} {
		if _, err := goconductor.Connect(address); !errors.Is(err, goconductor.ErrMisuse) {
			t.Errorf("the address %q: %v", address, err)
		}
	}
	tls := goconductor.WithTLS(goconductor.TLSFiles{Certificate: "only.pem"})
	if _, err := goconductor.Connect("https://127.0.0.1", tls); !errors.Is(err, goconductor.ErrMisuse) {
		t.Errorf("a certificate without a key: %v", err)
	}
}

func TestUnreachableGatewayAndExecutorAreReported(t *testing.T) {
	t.Parallel()
	client, err := goconductor.Connect("http://127.0.0.1:1", goconductor.WithExecutors("http://127.0.0.1:1"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = client.Close() }()
	if _, err := client.Apply(t.Context(), "shop", nil); !errors.Is(err, goconductor.ErrUnreachable) {
		t.Errorf("the error is %v", err)
	}
	shop := goconductor.NewService("shop")
	goconductor.Action(shop, "work", func(context.Context, any) (any, error) { return nil, nil })
	worker, err := client.Serve(shop)
	if err != nil {
		t.Fatal(err)
	}
	defer worker.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	err = worker.Connected(ctx)
	if !errors.Is(err, goconductor.ErrNoExecutor) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the error is %v", err)
	}
}

func TestInvalidDefinitionIsReportedWithEachProblem(t *testing.T) {
	t.Parallel()
	_, err := client(t).Validate(t.Context(), "shop", []byte("workflow: shop\nsteps: [ { name: a }, { name: b } ]\n"))
	var described *goconductor.Error
	if !errors.Is(err, goconductor.ErrInvalid) || !errors.As(err, &described) || len(described.Locations) < 2 ||
		described.Code == "" || described.Retryable {
		t.Errorf("the error is %#v", err)
	}
}
