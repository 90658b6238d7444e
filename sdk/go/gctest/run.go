package gctest

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/goconductor/goconductor/sdk/go"
)

// describeTimeout limits the call that reads the saga at its end.
const describeTimeout = 10 * time.Second

// Call is a call of an action.
type Call struct {
	Step      string
	Operation goconductor.Operation
	// Attempt is the number of the attempt, from 1.
	Attempt int
	// Key is the idempotency key.
	Key string
	// Input is the JSON that the action received.
	Input string
}

// Run is a saga that was run. Its assertions fail the test with the history of the saga.
type Run struct {
	t           testing.TB
	mutex       sync.Mutex
	calls       []Call
	events      []goconductor.Event
	description *goconductor.Description
}

func (r *Run) record(attempt *goconductor.Attempt) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	r.calls = append(r.calls, Call{
		Step: attempt.Step(), Operation: attempt.Operation(), Attempt: attempt.Number(),
		Key: attempt.Key(), Input: string(attempt.RawInput()),
	})
}

func (r *Run) read(handle *goconductor.Handle) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), describeTimeout)
	defer cancel()
	described, err := handle.Describe(ctx)
	if err != nil {
		r.t.Fatal(err)
	}
	r.description = described
}

// Description returns the state of the saga at the end.
func (r *Run) Description() *goconductor.Description { return r.description }

// Calls returns the calls of actions, in order.
func (r *Run) Calls() []Call {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	return slices.Clone(r.calls)
}

// Events returns the history.
func (r *Run) Events() []goconductor.Event { return r.events }

// Executed returns the steps that completed, in order.
func (r *Run) Executed() []string { return r.steps("STEP_COMPLETED") }

// Compensated returns the steps that were compensated, in order.
func (r *Run) Compensated() []string { return r.steps("STEP_COMPENSATED") }

func (r *Run) steps(kind string) []string {
	steps := []string{}
	for _, event := range r.events {
		if event.Type == kind {
			steps = append(steps, event.Step)
		}
	}
	return steps
}

// Standing returns the steps that may have had an effect which remains, although the saga did not complete. A step
// without a compensation has nothing to undo.
func (r *Run) Standing() []string {
	standing := []string{}
	if r.description.Status == goconductor.StatusCompleted {
		return standing
	}
	for _, step := range r.description.Steps {
		// FAILED and UNKNOWN differ: a failed step had no effect.
		mayStand := slices.Contains([]string{"COMPLETED", "UNKNOWN", "COMPENSATION_FAILED"}, step.Status)
		if mayStand && step.Compensate != "" {
			standing = append(standing, step.Name)
		}
	}
	return standing
}

// Timeline returns the history as text, one event per line.
func (r *Run) Timeline() string {
	var lines strings.Builder
	for _, event := range r.events {
		after := event.Time.Sub(r.events[0].Time).Round(time.Millisecond)
		fmt.Fprintf(&lines, "%4d +%v %s %s %s\n", event.Seq, after, event.Type, event.Step, event.Detail)
	}
	return lines.String()
}

// AssertStatus asserts the status at the end.
func (r *Run) AssertStatus(expected goconductor.Status) {
	r.t.Helper()
	if actual := r.description.Status; actual != expected {
		r.t.Errorf("the saga ended %s, and %s was expected\n%s", actual, expected, r.Timeline())
	}
}

// AssertExecuted asserts which steps completed, in order.
func (r *Run) AssertExecuted(expected ...string) {
	r.t.Helper()
	if actual := r.Executed(); !slices.Equal(actual, expected) {
		r.t.Errorf("the saga executed %q, and %q was expected\n%s", actual, expected, r.Timeline())
	}
}

// AssertCompensated asserts which steps were compensated, in order.
func (r *Run) AssertCompensated(expected ...string) {
	r.t.Helper()
	if actual := r.Compensated(); !slices.Equal(actual, expected) {
		r.t.Errorf("the saga compensated %q, and %q was expected\n%s", actual, expected, r.Timeline())
	}
}

// AssertNothingStands asserts that the saga completed, or that every step that may have had an effect was compensated.
func (r *Run) AssertNothingStands() {
	r.t.Helper()
	if standing := r.Standing(); len(standing) > 0 {
		r.t.Errorf("the effects of %q remain\n%s", standing, r.Timeline())
	}
}

// AssertSameKeys asserts that the attempts of each side of each step had one idempotency key.
func (r *Run) AssertSameKeys() {
	r.t.Helper()
	keys := map[string]string{}
	for _, call := range slices.SortedFunc(slices.Values(r.Calls()), byKey) {
		side := call.Step + "/" + string(call.Operation)
		if known, ok := keys[side]; ok && known != call.Key {
			r.t.Errorf("%s was called with the keys %q and %q\n%s", side, known, call.Key, r.Timeline())
		}
		keys[side] = call.Key
	}
}
