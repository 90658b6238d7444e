package gctest_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/goconductor/goconductor/sdk/go"
	"github.com/goconductor/goconductor/sdk/go/gctest"
)

const day = 24 * time.Hour

const trial = `
workflow: trial
steps:
  - { name: open, run: shop/open, compensate: shop/close }
  - { name: wait, sleep: 30d }
  - { name: charge, run: shop/charge, compensate: none, retry: { max_attempts: 3, initial: 1h, max: 1h } }
`

func trialShop() *goconductor.Service {
	shop := goconductor.NewService("shop")
	none := func(context.Context, any) (any, error) { return nil, nil }
	for _, action := range []string{"open", "close", "charge"} {
		goconductor.Action(shop, action, none)
	}
	return shop
}

func TestThirtyDaysPassAtOnce(t *testing.T) {
	t.Parallel()
	began := time.Now()
	server := gctest.Start(t, gctest.WithVirtualTime())
	saga := gctest.NewDefinition(t, server, "trial", []byte(trial), trialShop())
	run := saga.Inject(gctest.OnExecute("charge").Numbers(1, 2), gctest.Fail).Run(nil)
	run.AssertStatus(goconductor.StatusCompleted)
	run.AssertExecuted("open", "wait", "charge")
	events := run.Events()
	if passed := events[len(events)-1].Time.Sub(events[0].Time); passed < 30*day {
		t.Errorf("only %v passed\n%s", passed, run.Timeline())
	}
	run = saga.CancelAfter("open").Run(nil)
	run.AssertStatus(goconductor.StatusRolledBack)
	run.AssertExecuted("open")
	run.AssertCompensated("open")
	// A limit that a busy machine keeps, and 30 days do not.
	if passed := time.Since(began); passed > 30*time.Second {
		t.Errorf("the test took %v", passed)
	}
}

func TestScheduleStartsAtEachDueTimeOfAnAdvance(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	server := gctest.Start(t, gctest.WithVirtualTime())
	client := server.Client(t)
	definition := "workflow: report\nsteps: [ { name: pause, sleep: 1h } ]\n"
	if _, err := client.Apply(ctx, "report", []byte(definition)); err != nil {
		t.Fatal(err)
	}
	if _, err := client.PutSchedule(ctx, "daily", goconductor.ScheduleSpec{Definition: "report", Cron: "@daily"}); err != nil {
		t.Fatal(err)
	}
	if err := server.Advance(ctx, 10*day); err != nil {
		t.Fatal(err)
	}
	schedule, err := client.Schedule(ctx, "daily")
	if err != nil {
		t.Fatal(err)
	}
	if schedule.Started != 10 || schedule.Missed != 0 {
		t.Errorf("%d workflows were started and %d due times missed", schedule.Started, schedule.Missed)
	}
	handle, err := client.Start(ctx, "report")
	if err != nil {
		t.Fatal(err)
	}
	described, err := server.RunToEnd(ctx, handle)
	if err != nil || described.Status != goconductor.StatusCompleted {
		t.Errorf("the workflow ended %v: %v", described, err)
	}
}

func TestClockOfAnotherServerIsReal(t *testing.T) {
	t.Parallel()
	err := server.Advance(context.Background(), day)
	if err == nil || !strings.Contains(err.Error(), "WithVirtualTime") {
		t.Errorf("the error is %v", err)
	}
}
