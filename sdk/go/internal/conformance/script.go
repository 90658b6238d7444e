package main

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/goconductor/goconductor/sdk/go"
)

// script is what an action does in one attempt.
type script []instruction

// instruction is one step of a script. One of its fields is set.
type instruction struct {
	Done        json.RawMessage `json:"done"`
	Echo        bool            `json:"echo"`
	OutputBytes int             `json:"output_bytes"`
	Retry       *failure        `json:"retry"`
	Refuse      *failure        `json:"refuse"`
	Unknown     *failure        `json:"unknown"`
	Error       string          `json:"error"`
	Panic       string          `json:"panic"`
	Inbox       *inboxStep      `json:"inbox"`
	SleepMS     int             `json:"sleep_ms"`
	HeartbeatMS int             `json:"heartbeat_ms"`
	AwaitCancel bool            `json:"await_cancel"`
	Gate        string          `json:"gate"`
	Detached    bool            `json:"detached"`
	Die         bool            `json:"die"`
}

type failure struct {
	Code    string          `json:"code"`
	Message string          `json:"message"`
	AfterMS int             `json:"after_ms"`
	Detail  json.RawMessage `json:"detail"`
}

type inboxStep struct {
	Output json.RawMessage `json:"output"`
	// Die ends the process by SIGKILL after the commit.
	Die bool `json:"die"`
	// Answer is "lost" if the attempt ends unknown after the commit.
	Answer string `json:"answer"`
}

var errUnfinished = errors.New("the script has no end")

// action returns the handler of an action. It reports each call before and after the script, unless it is quiet.
func (d *driver) action(scripts []script) goconductor.Handler {
	return func(ctx context.Context, input json.RawMessage) (json.RawMessage, error) {
		attempt := goconductor.AttemptOf(ctx)
		chosen := scripts[min(attempt.Number(), len(scripts))-1]
		if d.quiet {
			return d.run(ctx, chosen, input)
		}
		write(map[string]any{
			"event": "call", "action": attempt.Action(), "step": attempt.Step(), "workflow_id": attempt.WorkflowID(),
			"operation": attempt.Operation(), "attempt": attempt.Number(), "key": d.key(attempt), "input": input,
			"time_left_ms": attempt.TimeLeft().Milliseconds(), "traceparent": attempt.Traceparent(),
			"heartbeat_timeout_ms": attempt.HeartbeatTimeout().Milliseconds(), "lock_tokens": attempt.LockTokens(),
		})
		output, err := d.run(ctx, chosen, input)
		event := map[string]any{
			"event": "returned", "action": attempt.Action(), "attempt": attempt.Number(), "outcome": "done",
		}
		if err != nil {
			outcome := goconductor.AsActionError(err)
			event["outcome"], event["code"] = outcome.Kind.String(), outcome.Code
		}
		write(event)
		return output, err
	}
}

// key returns the idempotency key. The driver that is broken in this way has a new one for each attempt.
func (d *driver) key(attempt *goconductor.Attempt) string {
	if d.broken != "new-key-on-retry" || attempt.Number() == 1 {
		return attempt.Key()
	}
	workflow, rest, _ := strings.Cut(attempt.Key(), "/")
	return workflow + "x" + time.Now().Format("150405.000000") + "/" + rest
}

func (d *driver) run(ctx context.Context, script script, input json.RawMessage) (json.RawMessage, error) {
	for _, step := range script {
		if step.Detached {
			ctx = context.WithoutCancel(ctx)
		}
		switch {
		case step.SleepMS > 0:
			d.sleep(ctx, step)
		case step.Gate != "":
			select {
			case <-d.gate(step.Gate):
			case <-ctx.Done():
			}
		case step.AwaitCancel:
			began := time.Now()
			<-ctx.Done()
			write(map[string]any{
				"event": "cancelled", "action": goconductor.AttemptOf(ctx).Action(),
				"attempt": goconductor.AttemptOf(ctx).Number(), "after_ms": time.Since(began).Milliseconds(),
				"time_left_ms": goconductor.AttemptOf(ctx).TimeLeft().Milliseconds(),
			})
		case step.Die:
			die()
		case step.Detached:
		default:
			return d.end(ctx, step, input)
		}
	}
	return nil, errUnfinished
}

// end runs the last instruction of a script.
func (d *driver) end(ctx context.Context, step instruction, input json.RawMessage) (json.RawMessage, error) {
	switch {
	case step.Done != nil:
		return step.Done, nil
	case step.Echo:
		return input, nil
	case step.OutputBytes > 0:
		return json.RawMessage(`"` + strings.Repeat("x", step.OutputBytes-2) + `"`), nil
	case step.Retry != nil:
		after := time.Duration(step.Retry.AfterMS) * time.Millisecond
		return nil, goconductor.RetryAfter(step.Retry.Code, step.Retry.Message, after)
	case step.Refuse != nil:
		refused := goconductor.Refused(step.Refuse.Code, step.Refuse.Message)
		if step.Refuse.Detail != nil {
			refused = refused.WithDetail(step.Refuse.Detail)
		}
		return nil, refused
	case step.Unknown != nil:
		return nil, goconductor.Unknown(step.Unknown.Code, step.Unknown.Message)
	case step.Error != "":
		return nil, errors.New(step.Error)
	case step.Panic != "":
		panic(step.Panic)
	case step.Inbox != nil:
		return d.box.run(ctx, d.key(goconductor.AttemptOf(ctx)), *step.Inbox)
	default:
		return nil, errUnfinished
	}
}

// sleep waits, and sends heartbeats unless the driver is broken in this way.
func (d *driver) sleep(ctx context.Context, step instruction) {
	end := time.NewTimer(time.Duration(step.SleepMS) * time.Millisecond)
	defer end.Stop()
	interval := time.Hour
	if step.HeartbeatMS > 0 && d.broken != "no-heartbeat" {
		interval = time.Duration(step.HeartbeatMS) * time.Millisecond
	}
	heartbeats := time.NewTicker(interval)
	defer heartbeats.Stop()
	for {
		select {
		case <-heartbeats.C:
			goconductor.Heartbeat(ctx)
		case <-end.C:
			return
		case <-ctx.Done():
			return
		}
	}
}

// die ends the process as a crash of the machine would.
func die() {
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	select {}
}
