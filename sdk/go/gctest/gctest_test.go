package gctest_test

import (
	"context"
	"fmt"
	"os"
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

type order struct {
	SKU    string `json:"sku"`
	Amount int64  `json:"amount"`
}

// orderSaga is a saga of two steps. Its attempts time out soon.
func orderSaga() goconductor.Workflow {
	step := func(name string) goconductor.WorkflowStep {
		execute := func(_ context.Context, input order) (string, error) {
			if name == "Reserve" && input.SKU == "sold-out" {
				return "", goconductor.Refused("SOLD_OUT", "no item is left")
			}
			return name, nil
		}
		compensate := func(_ context.Context, undo goconductor.CompensationInput[order, string]) error {
			if undo.Output != nil && *undo.Output != name {
				return fmt.Errorf("the output is %q", *undo.Output)
			}
			return nil
		}
		step := goconductor.Step(name, execute, compensate)
		step.Timeout = time.Second
		step.Retry = goconductor.RetryPolicy{MaxAttempts: 3, Initial: 10 * time.Millisecond}
		return step
	}
	return goconductor.Workflow{Name: "Order", Steps: []goconductor.WorkflowStep{step("Charge"), step("Reserve")}}
}

func TestSagaCompletesAndRollsBack(t *testing.T) {
	t.Parallel()
	saga := gctest.New(t, server, orderSaga())
	run := saga.Run(order{SKU: "book"})
	run.AssertStatus(goconductor.StatusCompleted)
	run.AssertExecuted("charge", "reserve")
	run.AssertCompensated()
	run = saga.Run(order{SKU: "sold-out"})
	run.AssertStatus(goconductor.StatusRolledBack)
	run.AssertExecuted("charge")
	run.AssertCompensated("charge")
	run.AssertNothingStands()
	if failure := run.Description().Failure; failure == nil || failure.Code != "SOLD_OUT" {
		t.Errorf("the failure is %v", failure)
	}
}

func TestEachFaultAtEachStepLeavesNoEffect(t *testing.T) {
	t.Parallel()
	saga := gctest.New(t, server, orderSaga())
	saga.Everywhere(order{SKU: "book"}, []string{"charge", "reserve"}, func(step string, fault gctest.Fault, run *gctest.Run) {
		expected := goconductor.StatusCompleted
		if fault == gctest.Refuse {
			expected = goconductor.StatusRolledBack
		}
		if run.Description().Status != expected {
			t.Errorf("%s at %s ended %s\n%s", fault, step, run.Description().Status, run.Timeline())
		}
		run.AssertNothingStands()
		run.AssertSameKeys()
	})
}

func TestStepInDoubtIsCompensated(t *testing.T) {
	t.Parallel()
	saga := gctest.New(t, server, orderSaga()).Inject(gctest.OnExecute("reserve").Every(), gctest.Unknown)
	run := saga.Run(order{SKU: "book"})
	run.AssertStatus(goconductor.StatusRolledBack)
	run.AssertExecuted("charge")
	run.AssertCompensated("reserve", "charge")
	run.AssertNothingStands()
	if calls := run.Calls(); len(calls) != 6 {
		t.Errorf("the actions were called %d times: %v", len(calls), calls)
	}
}

func TestCompensationThatNeverSucceedsWaitsForAnOperator(t *testing.T) {
	t.Parallel()
	definition := []byte(`
workflow: order
steps:
  - name: charge
    run: shop/charge
    compensate: { run: shop/refund, retry: { max_attempts: 2, initial: 10ms } }
  - { name: ship, run: shop/ship, compensate: none }
`)
	shop := goconductor.NewService("shop")
	none := func(context.Context, any) (any, error) { return nil, nil }
	goconductor.Action(shop, "charge", none)
	goconductor.Action(shop, "refund", none)
	goconductor.Action(shop, "ship", none)
	saga := gctest.NewDefinition(t, server, "order", definition, shop).
		Inject(gctest.OnExecute("ship"), gctest.Refuse).
		Inject(gctest.OnCompensate("charge").Every(), gctest.Fail)
	run := saga.Run(nil)
	run.AssertStatus(goconductor.StatusError)
	if standing := run.Standing(); len(standing) != 1 || standing[0] != "charge" {
		t.Errorf("the effects of %q remain", standing)
	}
}

func TestSignalAndCancel(t *testing.T) {
	t.Parallel()
	definition := []byte(`
workflow: order
steps:
  - { name: charge, run: shop/charge, compensate: shop/refund }
  - { name: approval, wait_for_signal: { signal: approved }, timeout: 20s }
output: { by: "${ signals.approved.by }" }
`)
	shop := goconductor.NewService("shop")
	goconductor.Pair(shop,
		"charge", func(context.Context, order) (string, error) { return "p1", nil },
		"refund", func(context.Context, goconductor.CompensationInput[order, string]) error { return nil },
	)
	saga := gctest.NewDefinition(t, server, "order", definition, shop)
	run := saga.Signal("approved", map[string]any{"by": "Zoë"}).Run(order{})
	run.AssertStatus(goconductor.StatusCompleted)
	if output := string(run.Description().Output); output != `{"by":"Zoë"}` {
		t.Errorf("the output is %s", output)
	}
	run = saga.CancelAfter("charge").Run(order{})
	run.AssertStatus(goconductor.StatusRolledBack)
	run.AssertCompensated("charge")
}
