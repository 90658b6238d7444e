package goconductor

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"runtime/debug"
	"slices"
)

// defaultCapacity is the number of tasks of each side in flight.
const defaultCapacity = 64

// The maximum lengths of names.
const (
	maxServiceName = 63
	maxActionName  = 128
)

var (
	serviceName = regexp.MustCompile(`^[a-z0-9](?:[a-z0-9]|-+[a-z0-9])*$`)
	actionName  = regexp.MustCompile(`^\.*[A-Za-z0-9_-][A-Za-z0-9_.-]*$`)
)

// Handler runs an action: it converts the JSON of the input to the JSON of the output.
type Handler func(ctx context.Context, input json.RawMessage) (json.RawMessage, error)

// Interceptor wraps the handlers of actions, for example to log, to measure or to authorise. [AttemptOf] returns the
// attempt.
type Interceptor func(next Handler) Handler

// Service is a microservice: its name and its actions. Add actions before it is served.
type Service struct {
	name         string
	version      string
	capacity     int
	interceptors []Interceptor
	actions      map[string]*action
	invalid      error
}

type action struct {
	handler Handler
	// slots limits the attempts in flight. nil means no limit of its own.
	slots chan struct{}
}

// ServiceOption is an option of [NewService].
type ServiceOption func(*Service)

// Capacity sets how many attempts of each side may be in flight (default: 64).
func Capacity(capacity int) ServiceOption {
	return func(s *Service) { s.capacity = max(1, capacity) }
}

// Version sets the version of the microservice, which executors log.
func Version(version string) ServiceOption {
	return func(s *Service) { s.version = version }
}

// Intercept adds interceptors around all actions. The first one is the outermost.
func Intercept(interceptors ...Interceptor) ServiceOption {
	return func(s *Service) { s.interceptors = append(s.interceptors, interceptors...) }
}

// ActionOption is an option of an action.
type ActionOption func(*action)

// MaxInFlight limits the attempts of one action in flight in this worker. An attempt that waits for its turn beyond its
// deadline is not started and is retried.
func MaxInFlight(limit int) ActionOption {
	return func(a *action) { a.slots = make(chan struct{}, max(1, limit)) }
}

// NewService returns a service without actions. Its name is the first half of `run: service/action`.
func NewService(name string, options ...ServiceOption) *Service {
	service := &Service{name: name, capacity: defaultCapacity, actions: map[string]*action{}}
	for _, option := range options {
		option(service)
	}
	return service
}

// Name returns the name of the service.
func (s *Service) Name() string { return s.name }

// Actions returns the names of the actions, sorted.
func (s *Service) Actions() []string { return slices.Sorted(maps.Keys(s.actions)) }

// Handle adds an action that receives and returns JSON. [Action] and [Pair] add typed actions.
func (s *Service) Handle(name string, handler Handler, options ...ActionOption) {
	if _, exists := s.actions[name]; exists && s.invalid == nil {
		s.invalid = misuse("the service %s has the action %s twice", s.name, name)
	}
	entry := &action{handler: handler}
	for _, option := range options {
		option(entry)
	}
	s.actions[name] = entry
}

// check checks the names, which definitions must be able to refer to.
func (s *Service) check() error {
	switch {
	case s.invalid != nil:
		return s.invalid
	case len(s.name) > maxServiceName || !serviceName.MatchString(s.name):
		return misuse("%q is not a name of a service: use up to %d lower-case letters, digits and hyphens, "+
			"without a hyphen at the beginning and the end", s.name, maxServiceName)
	case len(s.actions) == 0:
		return misuse("the service %s must have at least one action", s.name)
	}
	for name := range s.actions {
		if len(name) > maxActionName || !actionName.MatchString(name) {
			return misuse("%q is not a name of an action: use up to %d letters, digits, dots, hyphens and underscores",
				name, maxActionName)
		}
	}
	return nil
}

// Action adds the action of `run: service/action`. An input that cannot be decoded as I is refused with the code
// BAD_INPUT.
func Action[I, O any](
	service *Service,
	name string,
	execute func(ctx context.Context, input I) (O, error),
	options ...ActionOption,
) {
	service.Handle(name, func(ctx context.Context, text json.RawMessage) (json.RawMessage, error) {
		input, err := decodeAs[I](text)
		if err != nil {
			return nil, Refused("BAD_INPUT", err.Error()).WithCause(err)
		}
		output, err := execute(ctx, input)
		if err != nil {
			return nil, err
		}
		encoded, err := encode(output)
		if err != nil {
			return nil, Unknown("BAD_OUTPUT", err.Error()).WithCause(err)
		}
		return encoded, nil
	}, options...)
}

// CompensationInput is the input of a compensation, unless the definition sets another.
type CompensationInput[I, O any] struct {
	// Input is the input of the step.
	Input I `json:"input"`
	// Output is the output of the step. It is nil if it is unknown whether the step took effect, or if the output is
	// null.
	Output *O `json:"output"`
}

// Compensation adds the action of `compensate: service/action`. It must succeed if there is nothing to undo. I and O are
// the types of the action that it compensates, see [Pair].
func Compensation[I, O any](
	service *Service,
	name string,
	compensate func(ctx context.Context, undo CompensationInput[I, O]) error,
	options ...ActionOption,
) {
	Action(service, name, func(ctx context.Context, undo CompensationInput[I, O]) (any, error) {
		return nil, compensate(ctx, undo)
	}, options...)
}

// Pair adds an action and its compensation, which receives the input and the output of the action. The compiler checks
// that their types match.
func Pair[I, O any](
	service *Service,
	action string,
	execute func(ctx context.Context, input I) (O, error),
	compensation string,
	compensate func(ctx context.Context, undo CompensationInput[I, O]) error,
	options ...ActionOption,
) {
	Action(service, action, execute, options...)
	Compensation(service, compensation, compensate, options...)
}

// ProbeAnswer is the answer to a probe: whether the operation of a step happened. The zero value means that the service
// does not know, so the probe is repeated.
type ProbeAnswer[O any] struct {
	outcome string
	output  O
}

// ProbeDone answers that the operation happened, with its output.
func ProbeDone[O any](output O) ProbeAnswer[O] {
	return ProbeAnswer[O]{outcome: "done", output: output}
}

// ProbeNotDone answers that the operation did not happen, and that it will not.
func ProbeNotDone[O any]() ProbeAnswer[O] { return ProbeAnswer[O]{outcome: "not_done"} }

// ProbeUnknown answers that the service does not know. The probe is repeated.
func ProbeUnknown[O any]() ProbeAnswer[O] { return ProbeAnswer[O]{} }

// MarshalJSON returns the answer in the form of the contract.
func (p ProbeAnswer[O]) MarshalJSON() ([]byte, error) {
	switch p.outcome {
	case "done":
		return encode(map[string]any{"outcome": "done", "output": p.output})
	case "not_done":
		return []byte(`{"outcome":"not_done"}`), nil
	default:
		return []byte(`{"outcome":"unknown"}`), nil
	}
}

// Probe adds the action of `probe: service/action`. It has the input and the idempotency key of the step, and answers
// whether the operation of the step happened. It must have no effect.
func Probe[I, O any](
	service *Service,
	name string,
	probe func(ctx context.Context, input I) (ProbeAnswer[O], error),
	options ...ActionOption,
) {
	Action(service, name, probe, options...)
}

// run runs an action. The outcome of an action that panics is unknown.
func (s *Service) run(ctx context.Context, attempt *Attempt, outer []Interceptor) (json.RawMessage, error) {
	entry, ok := s.actions[attempt.action]
	if !ok {
		return nil, Retryable("NO_SUCH_ACTION", "the service has no action "+attempt.action)
	}
	if entry.slots != nil {
		select {
		case entry.slots <- struct{}{}:
			defer func() { <-entry.slots }()
		case <-ctx.Done():
			return nil, Retryable("NOT_STARTED", "the attempt ended before the action "+attempt.action+" had a free slot")
		}
	}
	if attempt.TimeLeft() == 0 {
		return nil, Retryable("NOT_STARTED", "the deadline of the attempt passed before the action began")
	}
	return guarded(ctx, attempt, func(ctx context.Context, input json.RawMessage) (json.RawMessage, error) {
		handler := entry.handler
		for _, interceptor := range slices.Backward(s.interceptors) {
			handler = interceptor(handler)
		}
		for _, interceptor := range slices.Backward(outer) {
			handler = interceptor(handler)
		}
		return handler(ctx, input)
	})
}

// guarded calls a handler. A panic, and an end of the goroutine by runtime.Goexit, have an unknown outcome.
func guarded(ctx context.Context, attempt *Attempt, handler Handler) (output json.RawMessage, err error) {
	type result struct {
		output json.RawMessage
		err    error
	}
	ended := make(chan result, 1)
	go func() {
		outcome := result{err: Unknown("PANICKED", "the action "+attempt.action+" ended its goroutine")}
		defer func() {
			if cause := recover(); cause != nil {
				attempt.logger.Error("action panicked", "cause", fmt.Sprint(cause), "stack", string(debug.Stack()))
				outcome = result{err: Unknown("PANICKED", fmt.Sprintf("the action %s panicked: %v", attempt.action, cause))}
			}
			ended <- outcome
		}()
		outcome.output, outcome.err = handler(withAttempt(ctx, attempt), attempt.input)
	}()
	outcome := <-ended
	return outcome.output, outcome.err
}
