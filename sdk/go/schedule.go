package goconductor

import (
	"context"
	"encoding/json"
	"iter"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	pb "github.com/goconductor/goconductor/sdk/go/goconductorv1"
)

// Overlap is the policy for a due time while a workflow of the schedule is running.
type Overlap string

// The policies.
const (
	OverlapSkip        Overlap = "SKIP"
	OverlapBufferOne   Overlap = "BUFFER_ONE"
	OverlapAllow       Overlap = "ALLOW"
	OverlapCancelOther Overlap = "CANCEL_OTHER"
)

// ScheduleSpec is the definition that a schedule starts, and its due times. Either Cron or Every is set.
type ScheduleSpec struct {
	// Definition is the name of the definition.
	Definition string
	// Version is a version of the definition. 0 means the newest one at each start.
	Version int
	// Cron has 5 fields, or 6 with the seconds first, or is a name such as @daily.
	Cron string
	// Timezone is the IANA name of the time zone of the pattern. Empty means UTC.
	Timezone string
	// Every is an interval of at least one second.
	Every time.Duration
	// Anchor is a due time of the interval. The zero time means 1970-01-01T00:00:00Z.
	Anchor time.Time
	// Overlap is the policy while a workflow is running. Empty means [OverlapSkip].
	Overlap Overlap
	// CatchUp is the age up to which missed due times are started. 0 means one hour.
	CatchUp time.Duration
	// Input is converted to JSON. nil means {}. The text ${ schedule.time } stands for the due time.
	Input any
	// Labels are labels of the workflows.
	Labels map[string]string
}

// Schedule is a schedule with its state.
type Schedule struct {
	Name string
	// Spec has the input as a [json.RawMessage].
	Spec ScheduleSpec
	// Generation rises with each change by a user.
	Generation uint64
	Paused     bool
	// NextDue and LastDue are zero if they do not apply.
	NextDue, LastDue time.Time
	// Started, Skipped, Missed and Failed count due times.
	Started, Skipped, Missed, Failed uint64
	// Recent are the newest workflows, newest first.
	Recent []ScheduleRun
}

// ScheduleRun is a workflow of a schedule.
type ScheduleRun struct {
	WorkflowID string
	Due        time.Time
	// Kind is due, buffered, backfill or trigger.
	Kind   string
	Status Status
}

// PutSchedule creates or replaces a schedule.
func (c *Client) PutSchedule(ctx context.Context, name string, spec ScheduleSpec) (*Schedule, error) {
	input := ""
	if spec.Input != nil {
		text, err := encode(spec.Input)
		if err != nil {
			return nil, misuse("the input cannot be converted to JSON: %v", err)
		}
		input = string(text)
	}
	wire := &pb.ScheduleSpec{
		Definition: spec.Definition,
		Version:    uint32(max(0, spec.Version)),
		Cron:       spec.Cron,
		Timezone:   spec.Timezone,
		Overlap:    pb.ScheduleOverlap(pb.ScheduleOverlap_value["SCHEDULE_OVERLAP_"+string(spec.Overlap)]),
		InputJson:  input,
		Labels:     spec.Labels,
	}
	if spec.Every > 0 {
		wire.Every = durationpb.New(spec.Every)
	}
	if spec.CatchUp > 0 {
		wire.CatchUp = durationpb.New(spec.CatchUp)
	}
	if !spec.Anchor.IsZero() {
		wire.Anchor = timestamppb.New(spec.Anchor)
	}
	response, err := c.schedules.PutSchedule(ctx, &pb.PutScheduleRequest{Name: name, Spec: wire})
	if err != nil {
		return nil, fromStatus(err)
	}
	return schedule(response.GetSchedule()), nil
}

// Schedule returns a schedule with the statuses of its newest workflows.
func (c *Client) Schedule(ctx context.Context, name string) (*Schedule, error) {
	response, err := c.schedules.GetSchedule(ctx, &pb.GetScheduleRequest{Name: name})
	if err != nil {
		return nil, fromStatus(err)
	}
	return schedule(response.GetSchedule()), nil
}

// Schedules returns the schedules of the namespace, ordered by name. An error ends the sequence.
func (c *Client) Schedules(ctx context.Context) iter.Seq2[Schedule, error] {
	return func(yield func(Schedule, error) bool) {
		request := &pb.ListSchedulesRequest{}
		for {
			page, err := c.schedules.ListSchedules(ctx, request)
			if err != nil {
				yield(Schedule{}, fromStatus(err))
				return
			}
			for _, each := range page.GetSchedules() {
				if !yield(*schedule(each), nil) {
					return
				}
			}
			if page.GetNextPageToken() == "" {
				return
			}
			request.PageToken = page.GetNextPageToken()
		}
	}
}

// DeleteSchedule deletes a schedule. Its workflows continue.
func (c *Client) DeleteSchedule(ctx context.Context, name string) error {
	_, err := c.schedules.DeleteSchedule(ctx, &pb.DeleteScheduleRequest{Name: name})
	return fromStatus(err)
}

// PauseSchedule pauses a schedule: it starts nothing but triggers.
func (c *Client) PauseSchedule(ctx context.Context, name, reason string) error {
	_, err := c.schedules.PauseSchedule(ctx, &pb.PauseScheduleRequest{Name: name, Reason: reason})
	return fromStatus(err)
}

// ResumeSchedule resumes a paused schedule. Due times during the pause are skipped.
func (c *Client) ResumeSchedule(ctx context.Context, name, reason string) error {
	_, err := c.schedules.ResumeSchedule(ctx, &pb.ResumeScheduleRequest{Name: name, Reason: reason})
	return fromStatus(err)
}

// TriggerSchedule starts a workflow of a schedule now, regardless of its overlap policy.
func (c *Client) TriggerSchedule(ctx context.Context, name string) (*Handle, error) {
	response, err := c.schedules.TriggerSchedule(ctx, &pb.TriggerScheduleRequest{Name: name})
	if err != nil {
		return nil, fromStatus(err)
	}
	return c.Workflow(response.GetWorkflowId()), nil
}

// BackfillSchedule starts the due times of a past range, both ends included, regardless of the overlap policy.
func (c *Client) BackfillSchedule(ctx context.Context, name string, from, until time.Time) error {
	_, err := c.schedules.BackfillSchedule(ctx, &pb.BackfillScheduleRequest{
		Name: name, From: timestamppb.New(from), Until: timestamppb.New(until),
	})
	return fromStatus(err)
}

// DueTimes returns the next due times of a schedule, at most 1000.
func (c *Client) DueTimes(ctx context.Context, name string, count int) ([]time.Time, error) {
	response, err := c.schedules.ListDueTimes(ctx, &pb.ListDueTimesRequest{Name: name, Count: uint32(max(0, count))})
	if err != nil {
		return nil, fromStatus(err)
	}
	var times []time.Time
	for _, due := range response.GetDueTimes() {
		times = append(times, due.AsTime())
	}
	return times, nil
}

func schedule(wire *pb.Schedule) *Schedule {
	spec := wire.GetSpec()
	converted := &Schedule{
		Name: wire.GetName(),
		Spec: ScheduleSpec{
			Definition: spec.GetDefinition(),
			Version:    int(spec.GetVersion()),
			Cron:       spec.GetCron(),
			Timezone:   spec.GetTimezone(),
			Every:      spec.GetEvery().AsDuration(),
			Anchor:     timeOf(spec.GetAnchor()),
			Overlap:    Overlap(optional(spec.GetOverlap().String(), "SCHEDULE_OVERLAP_")),
			CatchUp:    spec.GetCatchUp().AsDuration(),
			Input:      json.RawMessage(spec.GetInputJson()),
			Labels:     spec.GetLabels(),
		},
		Generation: wire.GetGeneration(),
		Paused:     wire.GetPaused() != nil,
		NextDue:    timeOf(wire.GetNextDue()),
		LastDue:    timeOf(wire.GetLastDue()),
		Started:    wire.GetStarted(),
		Skipped:    wire.GetSkipped(),
		Missed:     wire.GetMissed(),
		Failed:     wire.GetFailed(),
	}
	for _, run := range wire.GetRecent() {
		converted.Recent = append(converted.Recent, ScheduleRun{
			WorkflowID: run.GetWorkflowId(), Due: timeOf(run.GetDue()), Kind: run.GetKind(),
			Status: Status(strings.ToUpper(run.GetStatus())),
		})
	}
	return converted
}
