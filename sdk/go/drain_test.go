package goconductor

import (
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/durationpb"

	pb "github.com/goconductor/goconductor/sdk/go/goconductorv1"
)

func TestDrainIsCompleteWhenNoTaskIsOnTheWay(t *testing.T) {
	t.Parallel()
	now := time.Now()
	later := now.Add(10 * drainGrace)
	acknowledged := drainProgress{acknowledges: true}
	acknowledged.acknowledged(now)
	if acknowledged.complete(later) {
		t.Error("the drain is complete before it has begun")
	}
	acknowledged.workerDrains(now)
	if _, known := acknowledged.left(now); known || acknowledged.complete(later) {
		t.Error("the drain is complete before it is acknowledged")
	}
	acknowledged.acknowledged(later)
	if !acknowledged.complete(later) {
		t.Error("the drain is acknowledged and not complete")
	}
	byExecutor := drainProgress{acknowledges: true}
	byExecutor.workerDrains(now)
	byExecutor.executorDrains(now)
	if !byExecutor.complete(now) {
		t.Error("the executor has drained and the drain is not complete")
	}
}

func TestEarlierExecutorMaySendTasksForAWhile(t *testing.T) {
	t.Parallel()
	now := time.Now()
	for _, first := range []func(*drainProgress, time.Time){(*drainProgress).workerDrains, (*drainProgress).executorDrains} {
		var progress drainProgress
		first(&progress, now)
		// A second drain does not prolong the wait.
		progress.workerDrains(now.Add(drainGrace / 2))
		progress.executorDrains(now.Add(drainGrace / 2))
		if left, known := progress.left(now); !known || left != drainGrace || progress.complete(now.Add(drainGrace/2)) {
			t.Errorf("%v are left", left)
		}
		if !progress.complete(now.Add(drainGrace)) {
			t.Error("the drain is not complete after the grace")
		}
	}
}

// drainingExecutor is an executor whose task is on the way while the worker or the executor drains.
type drainingExecutor struct {
	pb.UnimplementedWorkerServiceServer

	acknowledges  bool
	executorFirst bool
	// delay is the time from the drain to the task.
	delay   time.Duration
	results chan *pb.TaskResult
	// ended receives the time from the last message to the end of the requests.
	ended chan time.Duration
}

func (e *drainingExecutor) Connect(stream grpc.BidiStreamingServer[pb.ConnectRequest, pb.ConnectResponse]) error {
	welcome := &pb.Welcome{Executor: "test", Lease: durationpb.New(20 * time.Second), AcknowledgesDrain: e.acknowledges}
	messages := []*pb.ConnectResponse{{Message: &pb.ConnectResponse_Welcome{Welcome: welcome}}}
	task := &pb.Task{TaskId: 7, Action: "work", Attempt: 1, InputJson: "null", Timeout: durationpb.New(20 * time.Second)}
	withTask := []*pb.ConnectResponse{{Message: &pb.ConnectResponse_Task{Task: task}}}
	if e.executorFirst {
		messages = append(messages, &pb.ConnectResponse{Message: &pb.ConnectResponse_Drain{Drain: &pb.Drain{}}})
	}
	if e.acknowledges {
		withTask = append(withTask, &pb.ConnectResponse{Message: &pb.ConnectResponse_DrainAck{DrainAck: &pb.DrainAck{}}})
	}
	for _, message := range messages {
		if err := stream.Send(message); err != nil {
			return err
		}
	}
	last := time.Now()
	for {
		request, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			e.ended <- time.Since(last)
			return nil
		}
		if err != nil {
			return err
		}
		switch message := request.GetMessage().(type) {
		case *pb.ConnectRequest_Drain:
			time.Sleep(e.delay)
			for _, message := range withTask {
				if err := stream.Send(message); err != nil {
					return err
				}
			}
			last = time.Now()
		case *pb.ConnectRequest_Result:
			e.results <- message.Result
		}
	}
}

func (e *drainingExecutor) serve(t *testing.T) *Worker {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	e.results, e.ended = make(chan *pb.TaskResult, 1), make(chan time.Duration, 1)
	server := grpc.NewServer()
	pb.RegisterWorkerServiceServer(server, e)
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(server.Stop)
	client, err := Connect("http://127.0.0.1:1", WithExecutors("http://"+listener.Addr().String()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	shop := NewService("shop")
	Action(shop, "work", func(context.Context, any) (int, error) { return 1, nil })
	worker, err := client.Serve(shop)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(worker.Close)
	if err := worker.Connected(t.Context()); err != nil {
		t.Fatal(err)
	}
	return worker
}

func TestTaskThatCrossesTheDrainIsFinished(t *testing.T) {
	t.Parallel()
	executor := &drainingExecutor{acknowledges: true, delay: 3 * drainGrace}
	worker := executor.serve(t)
	if err := worker.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	select {
	case result := <-executor.results:
		if result.GetTaskId() != 7 || result.GetDone().GetOutputJson() != "1" {
			t.Errorf("the result is %v", result)
		}
	default:
		t.Error("the task on the way has no result")
	}
	if ended := <-executor.ended; ended > 5*time.Second {
		t.Errorf("the worker closed the stream after %v", ended)
	}
}

func TestIdleWorkerWaitsForTasksOfAnEarlierExecutor(t *testing.T) {
	t.Parallel()
	executor := &drainingExecutor{}
	worker := executor.serve(t)
	start := time.Now()
	if err := worker.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	if waited := time.Since(start); waited < drainGrace {
		t.Errorf("the worker waited %v", waited)
	}
}

func TestWorkerClosesTheStreamOfAnExecutorThatDrained(t *testing.T) {
	t.Parallel()
	executor := &drainingExecutor{acknowledges: true, executorFirst: true}
	executor.serve(t)
	if ended := <-executor.ended; ended > 5*time.Second {
		t.Errorf("the worker closed the stream after %v", ended)
	}
}
