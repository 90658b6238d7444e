package gctest

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/goconductor/goconductor/sdk/go"
)

// runTimeout limits a run, unless [Saga.Timeout] sets another.
const runTimeout = time.Minute

// pollInterval is the interval at which a run checks whether its saga waits for an operator.
const pollInterval = 250 * time.Millisecond

// Saga is a saga with its services and the faults to inject. Each saga has a namespace of its own.
type Saga struct {
	t          testing.TB
	server     *Server
	namespace  string
	name       string
	definition []byte
	services   []*goconductor.Service
	injections []injection
	signals    []signal
	cancelAt   string
	timeout    time.Duration
}

type injection struct {
	at    Attempts
	fault Fault
}

type signal struct {
	name    string
	payload any
}

// New returns a saga of a workflow whose steps are functions.
func New(t testing.TB, server *Server, workflow goconductor.Workflow) *Saga {
	t.Helper()
	definition, err := workflow.Definition()
	if err != nil {
		t.Fatal(err)
	}
	service, err := workflow.Service()
	if err != nil {
		t.Fatal(err)
	}
	return NewDefinition(t, server, workflow.DefinitionName(), definition, service)
}

// NewDefinition returns a saga of a definition in YAML or JSON, with the services that it names.
func NewDefinition(
	t testing.TB, server *Server, name string, definition []byte, services ...*goconductor.Service,
) *Saga {
	return &Saga{
		t: t, server: server, namespace: "test-" + strings.ToLower(rand.Text()), name: name,
		definition: definition, services: services, timeout: runTimeout,
	}
}

// Inject returns the saga with a fault. Of several faults for one attempt, the one that was added last applies.
func (s *Saga) Inject(at Attempts, fault Fault) *Saga {
	clone := *s
	clone.injections = append(slices.Clone(s.injections), injection{at, fault})
	return &clone
}

// Signal returns the saga with a signal that is sent at the start. A signal that arrives before its step is kept.
func (s *Saga) Signal(name string, payload any) *Saga {
	clone := *s
	clone.signals = append(slices.Clone(s.signals), signal{name, payload})
	return &clone
}

// CancelAfter returns the saga with a cancel as soon as a step has completed.
func (s *Saga) CancelAfter(step string) *Saga {
	clone := *s
	clone.cancelAt = step
	return &clone
}

// Timeout returns the saga with another time limit of a run (default: one minute).
func (s *Saga) Timeout(timeout time.Duration) *Saga {
	clone := *s
	clone.timeout = timeout
	return &clone
}

// Run runs the saga to its end, or until it waits for an operator. The test fails if it does not end in time.
func (s *Saga) Run(input any) *Run {
	s.t.Helper()
	run := &Run{t: s.t}
	ctx, cancel := context.WithTimeout(context.Background(), s.timeout)
	defer cancel()
	session, err := s.open(ctx, run)
	if err != nil {
		s.t.Fatal(err)
	}
	defer session.close()
	handle, err := session.client.Start(ctx, s.name, goconductor.WithInput(input))
	if err != nil {
		s.t.Fatal(err)
	}
	for _, each := range s.signals {
		if err := handle.Signal(ctx, each.name, each.payload); err != nil {
			s.t.Fatal(err)
		}
	}
	failure := s.follow(ctx, handle, run)
	run.read(handle)
	if failure != nil {
		s.t.Fatalf("the saga did not end: %v\n%s", failure, run.Timeline())
	}
	return run
}

// Everywhere runs the saga once for each fault at the first attempt to execute each step, and calls check with each run.
func (s *Saga) Everywhere(input any, steps []string, check func(step string, fault Fault, run *Run), faults ...Fault) {
	s.t.Helper()
	if len(faults) == 0 {
		faults = Faults
	}
	for _, step := range steps {
		for _, fault := range faults {
			check(step, fault, s.Inject(OnExecute(step), fault).Run(input))
		}
	}
}

// follow waits for the end of the saga, and cancels it if it is to be cancelled.
func (s *Saga) follow(ctx context.Context, handle *goconductor.Handle, run *Run) error {
	ctx, stop := context.WithCancelCause(ctx)
	var tasks sync.WaitGroup
	defer tasks.Wait()
	defer stop(nil)
	tasks.Go(func() { awaitOperator(ctx, handle, stop) })
	var cancelled atomic.Bool
	if s.server.virtual {
		tasks.Go(func() {
			if err := s.passTime(ctx, handle, &cancelled); err != nil {
				stop(err)
			}
		})
	}
	for event, err := range handle.Watch(ctx) {
		cause := context.Cause(ctx)
		if errors.Is(cause, errNeedsOperator) {
			return nil
		}
		if err != nil && cause != nil {
			return cause
		}
		if err != nil {
			return err
		}
		run.events = append(run.events, event)
		if event.Type == "STEP_COMPLETED" && event.Step == s.cancelAt && s.cancelAt != "" {
			if err := handle.Cancel(ctx, "the test cancels after "+s.cancelAt); err != nil {
				return err
			}
			cancelled.Store(true)
		}
	}
	return nil
}

// errNeedsOperator is the cause of the end of a run whose saga waits for an operator, which is not an event.
var errNeedsOperator = errors.New("the saga waits for an operator")

func awaitOperator(ctx context.Context, handle *goconductor.Handle, stop context.CancelCauseFunc) {
	ticker := time.NewTicker(pollInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			described, err := handle.Describe(ctx)
			if err == nil && described.Status == goconductor.StatusError {
				stop(errNeedsOperator)
			}
		}
	}
}

// session is a client with the workers of a run.
type session struct {
	saga   *Saga
	client *goconductor.Client

	mutex   sync.Mutex
	workers map[string]*goconductor.Worker
	closed  bool
}

func (s *Saga) open(ctx context.Context, run *Run) (*session, error) {
	opened := &session{saga: s, workers: map[string]*goconductor.Worker{}}
	logger := slog.New(slog.NewTextHandler(s.t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
	client, err := goconductor.Connect(
		s.server.URL(), goconductor.WithNamespace(s.namespace), goconductor.WithLogger(logger),
		goconductor.WithInterceptors(opened.intercept(run)),
	)
	if err != nil {
		return nil, err
	}
	opened.client = client
	if _, err := client.Apply(ctx, s.name, s.definition); err != nil {
		opened.close()
		return nil, err
	}
	for _, service := range s.services {
		if err := opened.serve(ctx, service); err != nil {
			opened.close()
			return nil, err
		}
	}
	return opened, nil
}

func (s *session) serve(ctx context.Context, service *goconductor.Service) error {
	worker, err := s.start(service)
	if err != nil || worker == nil {
		return err
	}
	return worker.Connected(ctx)
}

// start starts the worker of a service. It returns nil if the run has ended.
func (s *session) start(service *goconductor.Service) (*goconductor.Worker, error) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if s.closed {
		return nil, nil
	}
	worker, err := s.client.Serve(service)
	if err == nil {
		s.workers[service.Name()] = worker
	}
	return worker, err
}

func (s *session) close() {
	s.mutex.Lock()
	s.closed = true
	workers := s.workers
	s.mutex.Unlock()
	for _, worker := range workers {
		worker.Close()
	}
	_ = s.client.Close()
}

// intercept records calls and injects faults.
func (s *session) intercept(run *Run) goconductor.Interceptor {
	return func(next goconductor.Handler) goconductor.Handler {
		return func(ctx context.Context, input json.RawMessage) (json.RawMessage, error) {
			attempt := goconductor.AttemptOf(ctx)
			record := func(ctx context.Context, input json.RawMessage) (json.RawMessage, error) {
				run.record(attempt)
				return next(ctx, input)
			}
			for _, injected := range slices.Backward(s.saga.injections) {
				if injected.at.matches(attempt) {
					return injected.fault.apply(ctx, record, input, func() { s.crash(attempt.Service()) })
				}
			}
			return record(ctx, input)
		}
	}
}

// crash disconnects the worker of a service, and starts it again.
func (s *session) crash(service string) {
	s.mutex.Lock()
	worker := s.workers[service]
	s.mutex.Unlock()
	if worker == nil {
		return
	}
	worker.Close()
	ctx, cancel := context.WithTimeout(context.Background(), s.saga.timeout)
	defer cancel()
	// A run that ends meanwhile has no use for the worker.
	_ = s.serve(ctx, worker.Service())
}

// byKey orders calls by key and attempt.
func byKey(a, b Call) int {
	return cmp.Or(strings.Compare(a.Key, b.Key), a.Attempt-b.Attempt)
}
