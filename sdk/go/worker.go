package goconductor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/signal"
	"slices"
	"sync"
	"syscall"
	"time"

	pb "github.com/goconductor/goconductor/sdk/go/goconductorv1"
)

const (
	// maxStreams is the maximum number of streams. More would not improve availability.
	maxStreams = 4
	// pollInterval is the interval at which new executors are discovered.
	pollInterval = 2 * time.Second
	// discoverTimeout limits one discovery.
	discoverTimeout = 5 * time.Second
	// drainTimeout is how long a shutdown waits for tasks in flight, unless its context ends earlier.
	drainTimeout = 30 * time.Second
	// connectTimeout is how long Connected waits for the first stream.
	connectTimeout = 30 * time.Second
	// The delays before a stream is opened again. They double with each refusal in a row.
	minReconnectDelay = 100 * time.Millisecond
	maxReconnectDelay = 5 * time.Second
)

// Worker is a service that is connected to executors.
type Worker struct {
	client  *Client
	service *Service
	stalls  *stallDetector

	// ctx ends the streams at once.
	ctx    context.Context
	cancel context.CancelFunc
	// drain is closed when the worker accepts no more tasks.
	drain     chan struct{}
	drainOnce sync.Once
	// done is closed when no stream is left.
	done chan struct{}

	mutex   sync.Mutex
	open    int
	refusal error
	// changed is closed and replaced when a stream opens.
	changed chan struct{}
}

// Serve connects a service to the executors as a worker, until the worker is shut down or closed. It returns [ErrMisuse]
// if the service has no actions or if a name is invalid.
func (c *Client) Serve(service *Service) (*Worker, error) {
	if err := service.check(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	worker := &Worker{
		client:  c,
		service: service,
		stalls:  newStallDetector(),
		ctx:     ctx,
		cancel:  cancel,
		drain:   make(chan struct{}),
		done:    make(chan struct{}),
		changed: make(chan struct{}),
		refusal: errors.New("no executor was asked yet"),
	}
	go worker.stalls.run(worker.done)
	go worker.run()
	return worker, nil
}

// Run serves services until the context ends or the process receives SIGTERM or SIGINT, and then finishes the tasks in
// flight for up to 30 seconds. It returns [ErrMisuse] if a service is invalid.
func (c *Client) Run(ctx context.Context, services ...*Service) error {
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGTERM, os.Interrupt)
	defer stop()
	var workers []*Worker
	for _, service := range services {
		worker, err := c.Serve(service)
		if err != nil {
			for _, started := range workers {
				started.Close()
			}
			return err
		}
		workers = append(workers, worker)
	}
	<-ctx.Done()
	// A second signal ends the process.
	stop()
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTimeout)
	defer cancel()
	results := make(chan error, len(workers))
	for _, worker := range workers {
		go func() { results <- worker.Shutdown(drain) }()
	}
	var failures []error
	for range workers {
		failures = append(failures, <-results)
	}
	return errors.Join(failures...)
}

// Service returns the service of the worker.
func (w *Worker) Service() *Service { return w.service }

// Connected waits up to 30 seconds until the worker is connected to at least one executor. It returns [ErrNoExecutor] with
// the reason of the last refusal if no executor accepts the worker in time.
func (w *Worker) Connected(ctx context.Context) error {
	timeout := time.NewTimer(connectTimeout)
	defer timeout.Stop()
	for {
		w.mutex.Lock()
		open, changed := w.open, w.changed
		w.mutex.Unlock()
		if open > 0 {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return w.noExecutor(fmt.Errorf("%w: %w", ctx.Err(), w.lastRefusal()))
		case <-w.done:
			return w.noExecutor(errors.New("the worker was shut down"))
		case <-timeout.C:
			return w.noExecutor(w.lastRefusal())
		}
	}
}

func (w *Worker) noExecutor(reason error) error {
	message := fmt.Sprintf("no executor accepted a worker of %s: %v", w.service.name, reason)
	return &Error{Message: message, kind: ErrNoExecutor, err: reason}
}

// Shutdown stops accepting tasks, and waits for the tasks in flight, up to 30 seconds. Tasks that are left are cancelled and
// retried elsewhere, and Shutdown returns an error without waiting for their actions.
func (w *Worker) Shutdown(ctx context.Context) error {
	w.drainOnce.Do(func() { close(w.drain) })
	ctx, cancel := context.WithTimeout(ctx, drainTimeout)
	defer cancel()
	select {
	case <-w.done:
		return nil
	case <-ctx.Done():
		w.client.settings.logger.Warn("worker gave up tasks at the drain timeout", "service", w.service.name)
		w.cancel()
		return fmt.Errorf("the worker of %s gave up tasks in flight: %w", w.service.name, ctx.Err())
	}
}

// Close disconnects the worker at once. Its tasks in flight are cancelled and retried elsewhere. Close waits for their
// actions, up to 5 seconds.
func (w *Worker) Close() {
	w.drainOnce.Do(func() { close(w.drain) })
	w.cancel()
	<-w.done
}

// ended is a stream that ended.
type ended struct {
	address string
	opened  bool
}

// run keeps streams to executors open.
func (w *Worker) run() {
	defer close(w.done)
	defer w.cancel()
	var running sync.WaitGroup
	results := make(chan ended)
	connected := map[string]bool{}
	refusals := map[string]int{}
	for !w.isDraining() {
		executors := w.discover()
		streams := min(max(1, len(executors)), maxStreams)
		maps.DeleteFunc(refusals, func(address string, _ int) bool { return !slices.Contains(executors, address) })
		for _, address := range executors {
			if connected[address] || len(connected) >= maxStreams {
				continue
			}
			connected[address] = true
			capacity := (w.service.capacity + streams - 1) / streams
			refused := refusals[address]
			running.Go(func() {
				opened := w.connectTo(address, capacity, refused)
				select {
				case results <- ended{address, opened}:
				case <-w.drain:
				}
			})
		}
		select {
		case <-w.drain:
		case result := <-results:
			delete(connected, result.address)
			refusals[result.address]++
			if result.opened {
				delete(refusals, result.address)
			}
		case <-time.After(jitter(pollInterval)):
		}
	}
	running.Wait()
}

func (w *Worker) isDraining() bool {
	select {
	case <-w.drain:
		return true
	default:
		return false
	}
}

// connectTo opens a stream to an executor, serves it until it ends, and waits before the next attempt. It returns whether the
// executor accepted the worker.
func (w *Worker) connectTo(address string, capacity, refusals int) bool {
	logger := w.client.settings.logger.With("executor", address, "service", w.service.name)
	opened, err := newStream(w, address, capacity).run(w.ctx, func() { w.count(1) })
	delay := minReconnectDelay
	if opened {
		w.count(-1)
		logger.Info("worker disconnected", "reason", err)
	} else {
		logger.Debug("executor refused the worker", "error", err)
		w.refuse(fmt.Errorf("%s: %w", address, err))
		delay = min(minReconnectDelay<<min(refusals+2, 10), maxReconnectDelay)
	}
	select {
	case <-time.After(jitter(delay)):
	case <-w.drain:
	}
	return opened
}

func (w *Worker) count(change int) {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	w.open += change
	close(w.changed)
	w.changed = make(chan struct{})
}

func (w *Worker) lastRefusal() error {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	return w.refusal
}

func (w *Worker) refuse(reason error) {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	w.refusal = reason
}

// discover returns the addresses of the executors that may accept the worker, in random order.
func (w *Worker) discover() []string {
	if fixed := w.client.settings.executors; len(fixed) > 0 {
		return shuffled(slices.Clone(fixed))
	}
	ctx, cancel := context.WithTimeout(w.ctx, discoverTimeout)
	defer cancel()
	response, err := w.client.services.ListProcesses(ctx, &pb.ListProcessesRequest{})
	if err != nil {
		w.refuse(fromStatus(err))
		return nil
	}
	scheme := "http://"
	if w.client.gateway.secure {
		scheme = "https://"
	}
	var found []string
	for _, process := range response.GetProcesses() {
		if process.GetKind() == "saga-executor" && accepts(process.GetAboutJson(), w.service.name) {
			found = append(found, scheme+process.GetAddress())
		}
	}
	if len(found) == 0 {
		w.refuse(errors.New("the gateway lists no executor that serves it"))
	}
	return shuffled(found)
}

func shuffled(addresses []string) []string {
	rand.Shuffle(len(addresses), func(i, j int) { addresses[i], addresses[j] = addresses[j], addresses[i] })
	return addresses
}

// accepts reports whether an executor accepts workers of a service, by what it announces.
func accepts(about, service string) bool {
	var info struct {
		Only []string `json:"only"`
	}
	if json.Unmarshal([]byte(about), &info) != nil {
		return true
	}
	return len(info.Only) == 0 || slices.Contains(info.Only, service)
}
