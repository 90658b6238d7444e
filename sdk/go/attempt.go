package goconductor

import (
	"context"
	"encoding/json"
	"log/slog"
	"maps"
	"time"
)

// Operation is the side of a step.
type Operation string

const (
	// Execute executes a step.
	Execute Operation = "execute"
	// Compensate compensates a step.
	Compensate Operation = "compensate"
)

// Attempt is one attempt of one side of one step. The context of an action contains it, see [AttemptOf].
type Attempt struct {
	key              string
	workflowID       string
	service          string
	action           string
	step             string
	operation        Operation
	number           int
	deadline         time.Time
	traceparent      string
	tracestate       string
	lockTokens       map[string]uint64
	heartbeatTimeout time.Duration
	beat             func()
	input            json.RawMessage
	logger           *slog.Logger
	output           *json.RawMessage
}

type attemptKey struct{}

func withAttempt(ctx context.Context, attempt *Attempt) context.Context {
	return context.WithValue(ctx, attemptKey{}, attempt)
}

// AttemptOf returns the attempt of the context of an action. It returns nil for every other context.
func AttemptOf(ctx context.Context) *Attempt {
	attempt, _ := ctx.Value(attemptKey{}).(*Attempt)
	return attempt
}

// Key returns the idempotency key: the same for every attempt of this side of this step, and different from all other
// keys.
func (a *Attempt) Key() string { return a.key }

// WorkflowID returns the id of the workflow.
func (a *Attempt) WorkflowID() string { return a.workflowID }

// Service returns the name of the service.
func (a *Attempt) Service() string { return a.service }

// Action returns the name of the action.
func (a *Attempt) Action() string { return a.action }

// Step returns the name of the step in the definition.
func (a *Attempt) Step() string { return a.step }

// Operation returns the side of the step.
func (a *Attempt) Operation() Operation { return a.operation }

// Number returns the number of the attempt, from 1.
func (a *Attempt) Number() int { return a.number }

// TimeLeft returns the time until the deadline of the attempt, by the monotonic clock. It is 0 after the deadline.
func (a *Attempt) TimeLeft() time.Duration { return max(0, time.Until(a.deadline)) }

// Traceparent returns the W3C trace context of the attempt, the parent of spans.
func (a *Attempt) Traceparent() string { return a.traceparent }

// Tracestate returns the W3C tracestate that belongs to [Attempt.Traceparent]. It is empty if there is none.
func (a *Attempt) Tracestate() string { return a.tracestate }

// LockToken returns the fencing token of a lock that the workflow holds, and whether it holds the lock.
func (a *Attempt) LockToken(key string) (uint64, bool) {
	token, held := a.lockTokens[key]
	return token, held
}

// LockTokens returns the fencing tokens of the locks that the workflow holds, by key.
func (a *Attempt) LockTokens() map[string]uint64 { return maps.Clone(a.lockTokens) }

// HeartbeatTimeout returns the maximum time between two heartbeats. It is 0 if the step has no heartbeat timeout.
func (a *Attempt) HeartbeatTimeout() time.Duration { return a.heartbeatTimeout }

// Heartbeat sends a heartbeat. If the step has a `timeout.heartbeat`, an attempt without a heartbeat for that time ends
// before its deadline, with an unknown outcome.
func (a *Attempt) Heartbeat() {
	if a.heartbeatTimeout > 0 && a.beat != nil {
		a.beat()
	}
}

// RawInput returns the JSON that the action received. That of a compensation is {"input": …, "output": …}, unless the
// definition sets another.
func (a *Attempt) RawInput() json.RawMessage { return a.input }

// Logger returns the logger of the worker, with the workflow, the step, the action and the attempt.
func (a *Attempt) Logger() *slog.Logger { return a.logger }

// Logger returns the logger of the attempt of a context, and the default logger for every other context.
func Logger(ctx context.Context) *slog.Logger {
	if attempt := AttemptOf(ctx); attempt != nil && attempt.logger != nil {
		return attempt.logger
	}
	return slog.Default()
}

// Heartbeat sends a heartbeat of the attempt of a context, see [Attempt.Heartbeat].
func Heartbeat(ctx context.Context) {
	if attempt := AttemptOf(ctx); attempt != nil {
		attempt.Heartbeat()
	}
}
