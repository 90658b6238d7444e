package goconductor

import (
	"context"
	"encoding/json"
	"errors"
	"iter"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	pb "github.com/goconductor/goconductor/sdk/go/goconductorv1"
)

const (
	// pollTimeout is the duration of one long poll.
	pollTimeout = 30 * time.Second
	// pollMargin is the time after pollTimeout within which its response must arrive.
	pollMargin = 10 * time.Second
	// retryTimeout is the time after which an unavailable gateway is given up.
	retryTimeout = time.Minute
	// standing is a duration after which a stream was not refused. An attempt to connect is shorter.
	standing = 30 * time.Second
	// eventPage is the number of events that one call returns.
	eventPage = 1000
	// The delays between retries while the gateway is unavailable.
	minRetryDelay = 100 * time.Millisecond
	maxRetryDelay = 2 * time.Second
)

// Handle is a handle to a workflow.
type Handle struct {
	client   *Client
	id       string
	replayed bool
}

// Workflow returns a handle to the workflow with an id. It sends no request.
func (c *Client) Workflow(id string) *Handle { return &Handle{client: c, id: id} }

// ID returns the id of the workflow.
func (h *Handle) ID() string { return h.id }

// Replayed reports whether an earlier start with the same key started the workflow.
func (h *Handle) Replayed() bool { return h.replayed }

// Result is the result of a workflow that has ended.
type Result struct {
	// Status is COMPLETED, ROLLED_BACK or TERMINATED.
	Status Status
	// Cause is the cause of the rollback. It is empty if the workflow did not roll back.
	Cause string
	// Output is the JSON of the output. It is null unless the workflow completed.
	Output json.RawMessage
	// Failure is the first failure. It is nil if no step failed.
	Failure *Failure
}

// Decode converts the output of the workflow.
func (r *Result) Decode(output any) error { return decode(r.Output, output) }

// Result waits until the workflow ends. The context limits the wait. It returns [ErrNotFound] if the workflow does not
// exist, and [ErrUnreachable] if the gateway cannot be reached for a minute.
func (h *Handle) Result(ctx context.Context) (*Result, error) {
	retries := newRetries()
	for {
		workflow, ended, err := h.poll(ctx)
		switch {
		case err == nil && ended:
			return &Result{
				Status:  workflow.Status,
				Cause:   workflow.Cause,
				Output:  workflow.Output,
				Failure: workflow.Failure,
			}, nil
		case err == nil:
			retries = newRetries()
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case !retries.wait(ctx, err):
			return nil, err
		}
	}
}

func (h *Handle) poll(ctx context.Context) (*Description, bool, error) {
	ctx, cancel := context.WithTimeout(ctx, pollTimeout+pollMargin)
	defer cancel()
	response, err := h.client.workflows.GetResult(ctx, &pb.GetResultRequest{
		Id: h.id, Wait: durationpb.New(pollTimeout),
	})
	if err != nil {
		return nil, false, fromStatus(err)
	}
	return description(response.GetWorkflow()), response.GetEnded(), nil
}

// retries are the retries of a read while the gateway is unavailable.
type retries struct {
	// deadline is set by the first failure. A stream can stand for hours before it fails.
	deadline time.Time
	delay    time.Duration
}

func newRetries() *retries { return &retries{delay: minRetryDelay} }

// wait waits before the next retry. It returns false if the read must not be retried.
func (r *retries) wait(ctx context.Context, err error) bool {
	var described *Error
	if !errors.As(err, &described) || !described.Retryable && !errors.Is(err, ErrOverloaded) {
		return false
	}
	if r.deadline.IsZero() {
		r.deadline = time.Now().Add(retryTimeout)
	}
	if time.Now().After(r.deadline) || sleep(ctx, jitter(r.delay)) != nil {
		return false
	}
	r.delay = min(2*r.delay, maxRetryDelay)
	return true
}

// Describe returns the current state of the workflow.
func (h *Handle) Describe(ctx context.Context) (*Description, error) {
	response, err := h.client.workflows.GetWorkflow(ctx, &pb.GetWorkflowRequest{Id: h.id})
	if err != nil {
		return nil, fromStatus(err)
	}
	return description(response.GetWorkflow()), nil
}

// Cancel requests a rollback of the workflow. It returns [ErrConflict] if the workflow has ended or its pivot has
// completed.
func (h *Handle) Cancel(ctx context.Context, reason string) error {
	_, err := h.client.workflows.CancelWorkflow(ctx, &pb.CancelWorkflowRequest{Id: h.id, Reason: reason})
	return fromStatus(err)
}

// SignalOption is an option of [Handle.Signal].
type SignalOption func(*pb.SignalWorkflowRequest)

// WithSignalKey sets a key by which a repeat of the same signal is recognised.
func WithSignalKey(key string) SignalOption {
	return func(s *pb.SignalWorkflowRequest) { s.IdempotencyKey = key }
}

// Signal sends a signal to the workflow. A signal that arrives early is kept until a step waits for it.
func (h *Handle) Signal(ctx context.Context, name string, payload any, options ...SignalOption) error {
	text, err := encode(payload)
	if err != nil {
		return misuse("the payload cannot be converted to JSON: %v", err)
	}
	request := &pb.SignalWorkflowRequest{Id: h.id, Name: name, PayloadJson: string(text)}
	for _, option := range options {
		option(request)
	}
	_, err = h.client.workflows.SignalWorkflow(ctx, request)
	return fromStatus(err)
}

// Watch returns the events of the workflow as they happen: in order, each once, until the last. After a broken connection
// it resumes after the last event. An error ends the sequence.
func (h *Handle) Watch(ctx context.Context) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		var last uint64
		retries := newRetries()
		for {
			began := time.Now()
			ended, err := h.follow(ctx, &last, func(event Event) bool {
				retries = newRetries()
				return yield(event, nil)
			})
			if ended {
				return
			}
			if time.Since(began) > standing {
				retries = newRetries()
			}
			if err == nil {
				// The stream ends with the last event, or with the gateway.
				workflow, failure := h.Describe(ctx)
				if failure == nil && workflow.Status.IsFinal() && workflow.Seq <= last {
					return
				}
				err = failure
			}
			if ctx.Err() != nil {
				yield(Event{}, ctx.Err())
				return
			}
			if err == nil {
				err = &Error{Message: "the stream of events ended", Retryable: true, kind: ErrUnreachable}
			}
			if !retries.wait(ctx, err) {
				yield(Event{}, err)
				return
			}
		}
	}
}

// follow yields the events of one stream. It returns true if the consumer has ended the sequence.
func (h *Handle) follow(ctx context.Context, last *uint64, yield func(Event) bool) (bool, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := h.client.workflows.FollowEvents(ctx, &pb.FollowEventsRequest{Id: h.id, AfterSeq: *last})
	if err != nil {
		return false, fromStatus(err)
	}
	for {
		message, err := stream.Recv()
		if err != nil {
			return false, ignoreEOF(err)
		}
		event := eventOf(message.GetEvent())
		if event.Seq <= *last {
			continue
		}
		*last = event.Seq
		if !yield(event) {
			return true, nil
		}
	}
}

// Events returns all events after a number, in order. It calls the gateway once for each 1000 events.
func (h *Handle) Events(ctx context.Context, after uint64) ([]Event, error) {
	var events []Event
	for {
		page, err := h.client.workflows.ListEvents(ctx, &pb.ListEventsRequest{Id: h.id, AfterSeq: after, PageSize: eventPage})
		if err != nil {
			return nil, fromStatus(err)
		}
		for _, event := range page.GetEvents() {
			events = append(events, eventOf(event))
			after = event.GetSeq()
		}
		if len(page.GetEvents()) < eventPage {
			return events, nil
		}
	}
}

// ListOption is an option of [Client.List].
type ListOption func(*pb.ListWorkflowsRequest)

// WithFilter sets a filter, such as `status = ERROR AND created_at > "-24h"`.
func WithFilter(filter string) ListOption {
	return func(l *pb.ListWorkflowsRequest) { l.Filter = filter }
}

// WithPageSize sets the number of workflows that one call returns, from 1 to 1000.
func WithPageSize(size int) ListOption {
	return func(l *pb.ListWorkflowsRequest) { l.PageSize = uint32(max(0, size)) }
}

// List returns workflows, newest first, without their input, output and steps. It calls the gateway once for each page. An
// error ends the sequence.
func (c *Client) List(ctx context.Context, options ...ListOption) iter.Seq2[Description, error] {
	return func(yield func(Description, error) bool) {
		request := &pb.ListWorkflowsRequest{}
		for _, option := range options {
			option(request)
		}
		for {
			page, err := c.workflows.ListWorkflows(ctx, request)
			if err != nil {
				yield(Description{}, fromStatus(err))
				return
			}
			for _, workflow := range page.GetWorkflows() {
				if !yield(*description(workflow), nil) {
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
