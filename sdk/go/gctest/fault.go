package gctest

import (
	"context"
	"encoding/json"
	"fmt"
	"math"

	"github.com/goconductor/goconductor/sdk/go"
)

// Attempts are the attempts of one side of a step at which a fault is injected.
type Attempts struct {
	step        string
	operation   goconductor.Operation
	first, last int
}

// OnExecute is the first attempt to execute a step.
func OnExecute(step string) Attempts {
	return Attempts{step: step, operation: goconductor.Execute, first: 1, last: 1}
}

// OnCompensate is the first attempt to compensate a step.
func OnCompensate(step string) Attempts {
	return Attempts{step: step, operation: goconductor.Compensate, first: 1, last: 1}
}

// Numbers returns other attempts of the same side, counted from 1.
func (a Attempts) Numbers(first, last int) Attempts {
	a.first, a.last = first, last
	return a
}

// Every returns every attempt of the same side.
func (a Attempts) Every() Attempts { return a.Numbers(1, math.MaxInt) }

func (a Attempts) matches(attempt *goconductor.Attempt) bool {
	return a.step == attempt.Step() && a.operation == attempt.Operation() &&
		a.first <= attempt.Number() && attempt.Number() <= a.last
}

// Fault is a fault of a participant.
type Fault int

const (
	// Refuse means that the participant refuses. The action is not called.
	Refuse Fault = iota + 1
	// Fail means that the participant reports a retryable failure. The action is not called.
	Fail
	// Unknown means that the action is called, and that the participant does not know its outcome.
	Unknown
	// Crash means that the action is called, and that the worker crashes before its outcome is sent.
	Crash
	// Duplicate means that the action is called twice with the same idempotency key.
	Duplicate
	// TimeOut means that the action is called, and that its outcome is not sent before the deadline.
	TimeOut
)

// Faults are all faults.
var Faults = []Fault{Refuse, Fail, Unknown, Crash, Duplicate, TimeOut}

// String returns the name of the fault.
func (f Fault) String() string {
	names := map[Fault]string{
		Refuse: "refuse", Fail: "fail", Unknown: "unknown", Crash: "crash", Duplicate: "duplicate", TimeOut: "timeout",
	}
	if name, ok := names[f]; ok {
		return name
	}
	return fmt.Sprintf("fault %d", int(f))
}

// code is the code of injected failures.
const code = "INJECTED"

// apply runs an attempt with the fault.
func (f Fault) apply(
	ctx context.Context, run goconductor.Handler, input json.RawMessage, crash func(),
) (json.RawMessage, error) {
	attempt := goconductor.AttemptOf(ctx)
	message := fmt.Sprintf("%s at attempt %d of %s", f, attempt.Number(), attempt.Step())
	switch f {
	case Refuse:
		return nil, goconductor.Refused(code, message)
	case Fail:
		return nil, goconductor.Retryable(code, message)
	case Unknown:
		if output, err := run(ctx, input); err != nil {
			return output, err
		}
		return nil, goconductor.Unknown(code, message)
	case Duplicate:
		if output, err := run(ctx, input); err != nil {
			return output, err
		}
		return run(ctx, input)
	case Crash, TimeOut:
		if output, err := run(ctx, input); err != nil {
			return output, err
		}
		if f == Crash {
			go crash()
		}
		<-ctx.Done()
		return nil, context.Cause(ctx)
	default:
		return run(ctx, input)
	}
}
