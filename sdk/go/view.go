package goconductor

import (
	"encoding/json"
	"errors"
	"io"
	"math/rand/v2"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	pb "github.com/goconductor/goconductor/sdk/go/goconductorv1"
)

// Status is the status of a workflow.
type Status string

// The statuses of a workflow. Completed, rolled back and terminated are final.
const (
	StatusQueued      Status = "QUEUED"
	StatusInProgress  Status = "IN_PROGRESS"
	StatusRollingBack Status = "ROLLING_BACK"
	StatusPaused      Status = "PAUSED"
	StatusError       Status = "ERROR"
	StatusCompleted   Status = "COMPLETED"
	StatusRolledBack  Status = "ROLLED_BACK"
	StatusTerminated  Status = "TERMINATED"
)

// IsFinal reports whether the workflow has ended.
func (s Status) IsFinal() bool {
	return s == StatusCompleted || s == StatusRolledBack || s == StatusTerminated
}

// Description is the state of a workflow.
type Description struct {
	ID         string
	Namespace  string
	Definition string
	Version    int
	Status     Status
	// Cause is the cause of the rollback: STEP_FAILED, CANCELLED, TIMED_OUT, OPERATOR or PARENT.
	Cause          string
	Labels         map[string]string
	IdempotencyKey string
	// Input and Output are JSON. They are empty in lists.
	Input, Output json.RawMessage
	// Failure is the first failure. It is nil if no step failed.
	Failure *Failure
	// Seq is the number of the last event.
	Seq       uint64
	CreatedAt time.Time
	// EndedAt and Deadline are zero if they do not apply.
	EndedAt, Deadline time.Time
	// Steps are in the order of the definition. They are empty in lists.
	Steps []StepDescription
	// WaitingOn has the reasons why the workflow makes no progress. It is empty in lists.
	WaitingOn []Waiting
}

// Step returns the step with a name. It returns nil if the definition has no such step.
func (d *Description) Step(name string) *StepDescription {
	for index := range d.Steps {
		if d.Steps[index].Name == name {
			return &d.Steps[index]
		}
	}
	return nil
}

// StepDescription is the state of a step.
type StepDescription struct {
	Name, Title string
	// Kind is compensatable, pivot or retriable.
	Kind string
	// Action and Compensate are `service/action`. Compensate is empty if the step has no compensation.
	Action, Compensate string
	// Status is a status such as COMPLETED, FAILED, UNKNOWN or COMPENSATED.
	Status                         string
	Attempts, CompensationAttempts int
	QueuedAt, StartedAt, EndedAt   time.Time
	Output                         json.RawMessage
	Failure                        *Failure
}

// Failure is a failure of a step.
type Failure struct {
	// Code is the stable code of the participant, or of the engine.
	Code string
	// Message is for people.
	Message string
	// Detail is JSON. It can be empty.
	Detail json.RawMessage
}

// Error returns the code and the message.
func (f *Failure) Error() string { return f.Code + ": " + f.Message }

// Waiting is a reason why a workflow makes no progress.
type Waiting struct {
	// Kind is a kind such as NO_WORKER, IN_FLIGHT, BACKOFF or SIGNAL.
	Kind         string
	Step         string
	Since, Until time.Time
	Detail       string
}

// Event is an event of a workflow.
type Event struct {
	// Seq is the number of the event: from 1, without gaps.
	Seq  uint64
	Time time.Time
	// Type is a type such as STEP_COMPLETED.
	Type    string
	Step    string
	Attempt int
	// Detail is JSON. It can be empty.
	Detail json.RawMessage
	Actor  string
}

func description(w *pb.Workflow) *Description {
	described := &Description{
		ID:             w.GetId(),
		Namespace:      w.GetNamespace(),
		Definition:     w.GetDefinition(),
		Version:        int(w.GetVersion()),
		Status:         Status(strings.TrimPrefix(w.GetStatus().String(), "WORKFLOW_STATUS_")),
		Cause:          optional(w.GetCause().String(), "ROLLBACK_CAUSE_"),
		Labels:         w.GetLabels(),
		IdempotencyKey: w.GetIdempotencyKey(),
		Input:          json.RawMessage(w.GetInputJson()),
		Output:         json.RawMessage(w.GetOutputJson()),
		Failure:        failureOf(w.GetError()),
		Seq:            w.GetSeq(),
		CreatedAt:      timeOf(w.GetCreatedAt()),
		EndedAt:        timeOf(w.GetEndedAt()),
		Deadline:       timeOf(w.GetDeadline()),
	}
	for _, step := range w.GetSteps() {
		described.Steps = append(described.Steps, StepDescription{
			Name:                 step.GetName(),
			Title:                step.GetTitle(),
			Kind:                 step.GetKind(),
			Action:               step.GetAction(),
			Compensate:           step.GetCompensate(),
			Status:               strings.TrimPrefix(step.GetStatus().String(), "STEP_STATUS_"),
			Attempts:             int(step.GetAttempts()),
			CompensationAttempts: int(step.GetCompensationAttempts()),
			QueuedAt:             timeOf(step.GetQueuedAt()),
			StartedAt:            timeOf(step.GetStartedAt()),
			EndedAt:              timeOf(step.GetEndedAt()),
			Output:               json.RawMessage(step.GetOutputJson()),
			Failure:              failureOf(step.GetError()),
		})
	}
	for _, waiting := range w.GetWaitingOn() {
		described.WaitingOn = append(described.WaitingOn, Waiting{
			Kind:   strings.TrimPrefix(waiting.GetKind().String(), "WAITING_KIND_"),
			Step:   waiting.GetStep(),
			Since:  timeOf(waiting.GetSince()),
			Until:  timeOf(waiting.GetUntil()),
			Detail: waiting.GetDetail(),
		})
	}
	return described
}

func eventOf(event *pb.Event) Event {
	return Event{
		Seq:     event.GetSeq(),
		Time:    timeOf(event.GetTime()),
		Type:    event.GetType(),
		Step:    event.GetStep(),
		Attempt: int(event.GetAttempt()),
		Detail:  json.RawMessage(event.GetDetailJson()),
		Actor:   event.GetActor(),
	}
}

func failureOf(failure *pb.Failure) *Failure {
	if failure == nil {
		return nil
	}
	return &Failure{
		Code: failure.GetCode(), Message: failure.GetMessage(), Detail: json.RawMessage(failure.GetDetailJson()),
	}
}

func timeOf(t *timestamppb.Timestamp) time.Time {
	if t == nil {
		return time.Time{}
	}
	return t.AsTime()
}

// optional returns the name of an enum value without its prefix. The unspecified value becomes empty.
func optional(name, prefix string) string {
	name = strings.TrimPrefix(name, prefix)
	if name == "UNSPECIFIED" {
		return ""
	}
	return name
}

// jitter returns a duration between half of d and d.
func jitter(d time.Duration) time.Duration {
	return d/2 + rand.N(d/2+1)
}

func ignoreEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return fromStatus(err)
}
