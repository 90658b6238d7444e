package goconductor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	pb "github.com/goconductor/goconductor/sdk/go/goconductorv1"
)

const (
	// executorTimeout is the timeout for connecting to an executor.
	executorTimeout = 2 * time.Second
	// keepAlive is the interval of pings. The library sends none more often.
	keepAlive = 10 * time.Second
	// welcomeTimeout is the timeout for the executor's welcome. It is also the lease if the welcome has none.
	welcomeTimeout = 5 * time.Second
	// defaultMaxOutput is the maximum size of an output in bytes, for an executor that does not state it.
	defaultMaxOutput = 512 << 10
	// maxText is the maximum size of a code and of a message in bytes.
	maxText = 16 << 10
	// requestBuffer is the number of messages to the executor that may be buffered.
	requestBuffer = 256
	// heartbeatsPerLease are sent within a lease, so that two may be lost.
	heartbeatsPerLease = 3
	// cancelTimeout is how long a lost stream waits for its tasks, which are cancelled.
	cancelTimeout = 5 * time.Second
)

// The reasons why a stream ended.
var (
	errDrained = errors.New("the worker drained")
	errLost    = errors.New("the connection was lost")
	errClosed  = errors.New("the executor closed the stream")
	errLease   = errors.New("the executor sent nothing within the lease")
)

// The causes of a cancelled attempt, for [context.Cause].
var (
	// ErrAttemptCancelled means that the result of the attempt is no longer needed: it timed out, or the saga rolls
	// back. An effect of the attempt is compensated.
	ErrAttemptCancelled = errors.New("the attempt was cancelled by the executor")
	// ErrStreamLost means that the connection to the executor was lost, or that the worker was closed. The attempt is
	// repeated.
	ErrStreamLost = errors.New("the connection to the executor was lost")
)

// stream is a stream to one executor.
type stream struct {
	worker   *Worker
	address  string
	capacity int

	lease     time.Duration
	maxOutput int
	progress  drainProgress
	// helloSent is the time of the hello. No task was sent before it.
	helloSent time.Time
	// requests are sent in order. It is never closed.
	requests chan *pb.ConnectRequest
	// lost is closed when no request can be sent any more.
	lost chan struct{}
	// finished receives the id of each task that ended.
	finished chan uint64
	tasks    sync.WaitGroup
	cancels  map[uint64]context.CancelCauseFunc
}

func newStream(worker *Worker, address string, capacity int) *stream {
	return &stream{
		worker:    worker,
		address:   address,
		capacity:  max(1, capacity),
		lease:     welcomeTimeout,
		maxOutput: defaultMaxOutput,
		requests:  make(chan *pb.ConnectRequest, requestBuffer),
		lost:      make(chan struct{}),
		finished:  make(chan uint64),
		cancels:   map[uint64]context.CancelCauseFunc{},
	}
}

// connect returns a connection to the executor.
func (s *stream) connect() (*grpc.ClientConn, error) {
	to, err := parseEndpoint(s.address)
	if err != nil {
		return nil, err
	}
	// An executor announces an address, which its certificate need not contain.
	transport, err := to.credentials(s.worker.client.settings.files, false, roleExecutor)
	if err != nil {
		return nil, err
	}
	return s.worker.client.dial(to, transport,
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: backoff.DefaultConfig, MinConnectTimeout: executorTimeout}),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: keepAlive, Timeout: executorTimeout}),
	)
}

// run opens the stream, calls onOpen and serves the stream until it ends. It returns whether the executor accepted the
// worker, and the reason of the end.
func (s *stream) run(ctx context.Context, onOpen func()) (bool, error) {
	conn, err := s.connect()
	if err != nil {
		return false, err
	}
	defer func() { _ = conn.Close() }()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	wire, responses, err := s.open(ctx, conn)
	if err != nil {
		return false, err
	}
	onOpen()
	// Tasks do not inherit the context, so that the reason of their end is known.
	tasks, abandon := context.WithCancelCause(context.WithoutCancel(ctx))
	sent := make(chan struct{})
	stop := make(chan struct{})
	go s.send(wire, stop, sent)
	reason := s.serve(ctx, tasks, responses)
	abandon(ErrStreamLost)
	if errors.Is(reason, errDrained) {
		close(stop)
		<-sent
		// The executor ends the stream when it has read the last result. An earlier end of the connection would lose
		// results that are still in its buffers.
		s.awaitEnd(ctx, responses)
		return true, reason
	}
	cancel()
	close(stop)
	<-sent
	s.awaitTasks()
	return true, reason
}

// received is a message from the executor, or the end of the stream.
type received struct {
	message *pb.ConnectResponse
	err     error
}

// open sends the hello and waits for the welcome.
func (s *stream) open(
	ctx context.Context, conn *grpc.ClientConn,
) (grpc.BidiStreamingClient[pb.ConnectRequest, pb.ConnectResponse], <-chan received, error) {
	wire, err := pb.NewWorkerServiceClient(conn).Connect(ctx)
	if err != nil {
		return nil, nil, fromStatus(err)
	}
	hello := &pb.Hello{
		Service:  s.worker.service.name,
		Actions:  s.worker.service.Actions(),
		Capacity: uint32(s.capacity),
		Version:  s.worker.service.version,
		Identity: identity(),
	}
	s.helloSent = time.Now()
	// An error of Send is described by Recv.
	_ = wire.Send(&pb.ConnectRequest{Message: &pb.ConnectRequest_Hello{Hello: hello}})
	responses := make(chan received)
	go receive(ctx, wire, responses)
	select {
	case first := <-responses:
		if first.err != nil {
			return nil, nil, fromStatus(first.err)
		}
		welcome := first.message.GetWelcome()
		if welcome == nil {
			return nil, nil, errors.New("the executor's first message was not a welcome message")
		}
		if lease := welcome.GetLease().AsDuration(); lease > 0 {
			s.lease = lease
		}
		if limit := welcome.GetMaxOutputBytes(); limit > 0 {
			s.maxOutput = int(min(limit, maxMessageBytes))
		}
		s.progress.acknowledges = welcome.GetAcknowledgesDrain()
		return wire, responses, nil
	case <-time.After(welcomeTimeout):
		return nil, nil, fmt.Errorf("no welcome within %v", welcomeTimeout)
	case <-ctx.Done():
		return nil, nil, ctx.Err()
	}
}

func receive(
	ctx context.Context, wire grpc.BidiStreamingClient[pb.ConnectRequest, pb.ConnectResponse], to chan<- received,
) {
	for {
		message, err := wire.Recv()
		select {
		case to <- received{message, err}:
		case <-ctx.Done():
			return
		}
		if err != nil {
			return
		}
	}
}

// send sends requests until stop is closed, and then those that are left.
func (s *stream) send(
	wire grpc.BidiStreamingClient[pb.ConnectRequest, pb.ConnectResponse], stop <-chan struct{}, sent chan<- struct{},
) {
	defer close(sent)
	defer close(s.lost)
	for {
		select {
		case request := <-s.requests:
			if wire.Send(request) != nil {
				return
			}
		case <-stop:
			for {
				select {
				case request := <-s.requests:
					if wire.Send(request) != nil {
						return
					}
				default:
					_ = wire.CloseSend()
					return
				}
			}
		}
	}
}

// serve handles messages until the stream ends, and returns the reason.
func (s *stream) serve(ctx, tasks context.Context, responses <-chan received) error {
	heartbeats := time.NewTicker(s.lease / heartbeatsPerLease)
	defer heartbeats.Stop()
	expired := time.NewTimer(s.lease)
	defer expired.Stop()
	drain := s.worker.drain
	var grace <-chan time.Time
	last := time.Now()
	for {
		select {
		case response := <-responses:
			now := time.Now()
			if now.Sub(last) > s.lease {
				// The process was suspended. The executor has given up the stream and its tasks.
				return errLease
			}
			last = now
			expired.Reset(s.lease)
			if response.err != nil {
				return endOf(response.err)
			}
			s.handle(tasks, response.message, now)
		case id := <-s.finished:
			if cancel, ok := s.cancels[id]; ok {
				cancel(nil)
				delete(s.cancels, id)
			}
		case <-heartbeats.C:
			s.offer(&pb.ConnectRequest{Message: &pb.ConnectRequest_Heartbeat{Heartbeat: &pb.Heartbeat{}}})
		case <-drain:
			drain = nil
			if !s.post(&pb.ConnectRequest{Message: &pb.ConnectRequest_Drain{Drain: &pb.Drain{}}}) {
				return errLost
			}
			s.progress.workerDrains(time.Now())
		case <-grace:
			grace = nil
		case <-expired.C:
			return errLease
		case <-s.lost:
			return errLost
		case <-ctx.Done():
			return ctx.Err()
		}
		now := time.Now()
		if s.progress.complete(now) && len(s.cancels) == 0 {
			return errDrained
		}
		if left, known := s.progress.left(now); known && left > 0 && grace == nil {
			grace = time.After(left)
		}
	}
}

func endOf(err error) error {
	if ignoreEOF(err) == nil {
		return errClosed
	}
	if code := status.Code(err); code == codes.Unavailable || code == codes.Canceled || code == codes.Internal {
		return fmt.Errorf("%w: %w", errLost, err)
	}
	return fromStatus(err)
}

// offer sends a request unless the buffer is full. The next heartbeat replaces one that was not sent.
func (s *stream) offer(request *pb.ConnectRequest) {
	select {
	case s.requests <- request:
	default:
	}
}

// post sends a request. It returns false if the stream is lost.
func (s *stream) post(request *pb.ConnectRequest) bool {
	select {
	case s.requests <- request:
		return true
	case <-s.lost:
		return false
	}
}

// handle handles a message. It ignores a message of a later version of the protocol.
func (s *stream) handle(tasks context.Context, message *pb.ConnectResponse, now time.Time) {
	switch message := message.GetMessage().(type) {
	case *pb.ConnectResponse_Task:
		s.start(tasks, message.Task, now)
	case *pb.ConnectResponse_Cancel:
		if cancel, ok := s.cancels[message.Cancel.GetTaskId()]; ok {
			cancel(fmt.Errorf("%w: %s", ErrAttemptCancelled, message.Cancel.GetReason()))
		}
	case *pb.ConnectResponse_Drain:
		s.progress.executorDrains(now)
	case *pb.ConnectResponse_DrainAck:
		s.progress.acknowledged(now)
	}
}

// start runs a task in a goroutine of its own.
func (s *stream) start(tasks context.Context, task *pb.Task, now time.Time) {
	if _, runs := s.cancels[task.GetTaskId()]; runs {
		return // an executor sends a task once in a stream
	}
	waited := min(s.worker.stalls.delay(now), now.Sub(s.helloSent))
	attempt := s.attempt(task, now.Add(timeout(task)-waited))
	ctx, cancel := context.WithCancelCause(tasks)
	s.cancels[task.GetTaskId()] = cancel
	s.tasks.Go(func() {
		ctx, stop := context.WithDeadline(ctx, attempt.deadline)
		defer stop()
		output, err := s.execute(ctx, attempt)
		result := s.result(task.GetTaskId(), output, err)
		// If the result is lost, the task is retried with the same key.
		s.post(&pb.ConnectRequest{Message: &pb.ConnectRequest_Result{Result: result}})
		select {
		case s.finished <- task.GetTaskId():
		case <-tasks.Done():
		}
	})
}

// timeout returns the time until the deadline of a task. The clock of the executor counts only if it does not state it.
func timeout(task *pb.Task) time.Duration {
	if task.GetTimeout() == nil && task.GetDeadline() != nil {
		return time.Until(task.GetDeadline().AsTime())
	}
	return task.GetTimeout().AsDuration()
}

func (s *stream) attempt(task *pb.Task, deadline time.Time) *Attempt {
	operation := Execute
	if task.GetOperation() == pb.Operation_OPERATION_COMPENSATE {
		operation = Compensate
	}
	id := task.GetTaskId()
	return &Attempt{
		key:              task.GetIdempotencyKey(),
		workflowID:       task.GetWorkflowId(),
		service:          s.worker.service.name,
		action:           task.GetAction(),
		step:             task.GetStep(),
		operation:        operation,
		number:           int(task.GetAttempt()),
		deadline:         deadline,
		traceparent:      task.GetTraceparent(),
		tracestate:       task.GetTracestate(),
		lockTokens:       task.GetLockTokens(),
		heartbeatTimeout: task.GetHeartbeatTimeout().AsDuration(),
		input:            json.RawMessage(task.GetInputJson()),
		beat: func() {
			heartbeat := &pb.TaskHeartbeat{TaskId: id}
			s.offer(&pb.ConnectRequest{Message: &pb.ConnectRequest_TaskHeartbeat{TaskHeartbeat: heartbeat}})
		},
		logger: s.worker.client.settings.logger.With(
			"workflow", task.GetWorkflowId(), "step", task.GetStep(), "service", s.worker.service.name,
			"action", task.GetAction(), "attempt", task.GetAttempt(),
		),
	}
}

func (s *stream) execute(ctx context.Context, attempt *Attempt) (json.RawMessage, error) {
	if len(attempt.input) == 0 {
		attempt.input = json.RawMessage("null")
	}
	if !json.Valid(attempt.input) {
		return nil, Retryable("BAD_TASK", "the input of the task is not valid JSON")
	}
	output, err := s.worker.service.run(ctx, attempt, s.worker.client.settings.interceptors)
	if err != nil {
		attempt.logger.DebugContext(ctx, "action failed", "error", err)
	}
	return output, err
}

// result converts the outcome of a task. A message that cannot be sent, or that the executor does not accept, would end the
// stream with all its tasks. That is why an output that is too large is not sent, and texts are valid UTF-8.
func (s *stream) result(id uint64, output json.RawMessage, err error) (result *pb.TaskResult) {
	defer func() {
		// Methods of the action's error and of its details are called here.
		if cause := recover(); cause != nil {
			result = failed(id, Unknown("PANICKED", fmt.Sprintf("the error of the action panicked: %v", cause)), s.maxOutput)
		}
	}()
	switch {
	case err != nil:
		return failed(id, AsActionError(err), s.maxOutput)
	case len(output) > s.maxOutput:
		message := fmt.Sprintf("the output has %d bytes; the limit is %d", len(output), s.maxOutput)
		return failed(id, Unknown("OUTPUT_TOO_LARGE", message), s.maxOutput)
	case !utf8.Valid(output):
		return failed(id, Unknown("BAD_OUTPUT", "the output is not valid UTF-8"), s.maxOutput)
	}
	done := &pb.TaskResult_Done{Done: &pb.Done{OutputJson: string(output)}}
	return &pb.TaskResult{TaskId: id, Outcome: done}
}

// failed converts the error of an action.
func failed(id uint64, action *ActionError, maxDetail int) *pb.TaskResult {
	failure := &pb.Failure{Code: sendable(action.Code), Message: sendable(action.Message)}
	result := &pb.TaskResult{TaskId: id}
	switch action.Kind {
	case KindRetryable:
		retryable := &pb.Retryable{Failure: failure}
		if action.After > 0 {
			retryable.RetryAfter = durationpb.New(action.After)
		}
		result.Outcome = &pb.TaskResult_Retryable{Retryable: retryable}
	case KindRefused:
		failure.DetailJson = strings.ToValidUTF8(detailJSON(action.Detail), "\uFFFD")
		if size := len(failure.GetDetailJson()); size > maxDetail {
			failure.Message += fmt.Sprintf(" [cut: details of %d bytes]", size)
			failure.DetailJson = ""
		}
		result.Outcome = &pb.TaskResult_Refused{Refused: &pb.Refused{Failure: failure}}
	default:
		result.Outcome = &pb.TaskResult_Unknown{Unknown: &pb.Unknown{Failure: failure}}
	}
	return result
}

// sendable returns a text as valid UTF-8 of a limited length. An executor keeps even less.
func sendable(text string) string {
	if len(text) > maxText {
		text = text[:maxText]
	}
	return strings.ToValidUTF8(text, "\uFFFD")
}

// awaitEnd waits until the executor ends the stream.
func (s *stream) awaitEnd(ctx context.Context, responses <-chan received) {
	timeout := time.After(s.lease)
	for {
		select {
		case response := <-responses:
			if response.err != nil {
				return
			}
		case <-timeout:
			return
		case <-ctx.Done():
			return
		}
	}
}

// awaitTasks waits for tasks that were cancelled. A task that ignores its context does not keep the worker from
// connecting again.
func (s *stream) awaitTasks() {
	ended := make(chan struct{})
	go func() {
		s.tasks.Wait()
		close(ended)
	}()
	select {
	case <-ended:
	case <-time.After(cancelTimeout):
		s.worker.client.settings.logger.Warn("tasks ignored their cancellation", "service", s.worker.service.name)
	}
}

var identity = sync.OnceValue(func() string {
	host, err := os.Hostname()
	if err != nil {
		host = "worker"
	}
	return fmt.Sprintf("%d@%s", os.Getpid(), host)
})
