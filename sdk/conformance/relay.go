package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"
)

// Modes of a relay.
const (
	// relayPlain forwards the messages as they are.
	relayPlain = "plain"
	// relayOlder removes from the executor's messages what the previous version of the worker protocol did not have.
	relayOlder = "older"
	// relayNewer adds fields and messages that a later version may have.
	relayNewer = "newer"
)

// Fields of the worker protocol: see proto/goconductor/v1/worker.proto.
const (
	fieldWelcome           = 1
	fieldTask              = 2
	fieldHeartbeat         = 4
	fieldDrainAck          = 6
	fieldMaxOutputBytes    = 3
	fieldAcknowledgesDrain = 4
	fieldTracestate        = 14
	// fieldLater is a field that no version has.
	fieldLater = 1000
)

// relay forwards the streams of workers to an executor.
type relay struct {
	mode     string
	listener net.Listener
	server   *grpc.Server
	upstream *grpc.ClientConn

	mutex   sync.Mutex
	streams map[chan struct{}]bool
	// forwarded is closed when the tasks that the relay holds back go on. It is nil if the relay holds no task back.
	forwarded chan struct{}
	// held has an element if a task is held back.
	held chan struct{}
}

func startRelay(executor, mode string) (*relay, error) {
	if mode != relayPlain && mode != relayOlder && mode != relayNewer {
		return nil, fmt.Errorf("unknown mode of a relay: %s", mode)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	upstream, err := grpc.NewClient(executor, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.ForceCodecV2(rawCodec{}), grpc.MaxCallRecvMsgSize(maxLine)))
	if err != nil {
		return nil, err
	}
	r := &relay{mode: mode, listener: listener, upstream: upstream, streams: map[chan struct{}]bool{}, held: make(chan struct{}, 1)}
	r.server = grpc.NewServer(
		grpc.ForceServerCodecV2(rawCodec{}), grpc.UnknownServiceHandler(r.forward), grpc.MaxRecvMsgSize(maxLine))
	go func() { _ = r.server.Serve(listener) }()
	return r, nil
}

func (r *relay) url() string { return "http://" + r.listener.Addr().String() }

func (r *relay) stop() {
	r.server.Stop()
	_ = r.upstream.Close()
}

// holdTasks holds back the tasks of the executor, and what follows a task on its stream.
func (r *relay) holdTasks() {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	if r.forwarded == nil {
		r.forwarded = make(chan struct{})
	}
}

// awaitHeldTask waits until a task is held back.
func (r *relay) awaitHeldTask(timeout time.Duration) error {
	select {
	case <-r.held:
		return nil
	case <-time.After(timeout):
		return fmt.Errorf("the relay received no task within %v", timeout)
	}
}

// forwardTasks ends [relay.holdTasks].
func (r *relay) forwardTasks() {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	if r.forwarded != nil {
		close(r.forwarded)
		r.forwarded = nil
	}
}

// delay waits while a message is held back.
func (r *relay) delay(ctx context.Context, message []byte) {
	r.mutex.Lock()
	forwarded := r.forwarded
	r.mutex.Unlock()
	if field, _, size := protowire.ConsumeTag(message); forwarded == nil || size < 0 || field != fieldTask {
		return
	}
	select {
	case r.held <- struct{}{}:
	default:
	}
	select {
	case <-forwarded:
	case <-ctx.Done():
	}
}

// drop ends all streams, as a broken connection does.
func (r *relay) drop() {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	for stream := range r.streams {
		close(stream)
		delete(r.streams, stream)
	}
}

func (r *relay) forward(_ any, worker grpc.ServerStream) error {
	method, _ := grpc.MethodFromServerStream(worker)
	incoming, _ := metadata.FromIncomingContext(worker.Context())
	ctx := metadata.NewOutgoingContext(worker.Context(), incoming)
	executor, err := r.upstream.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, method)
	if err != nil {
		return err
	}
	dropped := make(chan struct{})
	r.mutex.Lock()
	r.streams[dropped] = true
	r.mutex.Unlock()
	defer func() {
		r.mutex.Lock()
		delete(r.streams, dropped)
		r.mutex.Unlock()
	}()
	ended := make(chan error, 2)
	go func() {
		if err := pump(worker, executor, func(message []byte) [][]byte { return [][]byte{message} }); err != nil {
			ended <- err
			return
		}
		_ = executor.CloseSend()
	}()
	go func() {
		ended <- pump(executor, worker, func(message []byte) [][]byte {
			r.delay(worker.Context(), message)
			return r.convert(message)
		})
	}()
	select {
	case <-dropped:
		return status.Error(codes.Unavailable, "the relay dropped the connection")
	case err := <-ended:
		return err
	}
}

// messages is one direction of a stream.
type messages interface {
	SendMsg(message any) error
	RecvMsg(message any) error
}

func pump(from, to messages, convert func([]byte) [][]byte) error {
	for {
		var message []byte
		if err := from.RecvMsg(&message); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		for _, each := range convert(message) {
			if err := to.SendMsg(&each); err != nil {
				return err
			}
		}
	}
}

// convert converts a message of the executor to those of another version.
func (r *relay) convert(message []byte) [][]byte {
	switch r.mode {
	case relayOlder:
		if field, _, size := protowire.ConsumeTag(message); size > 0 && field == fieldDrainAck {
			return nil
		}
		return [][]byte{edit(message, func(field protowire.Number, body []byte) []byte {
			switch field {
			case fieldWelcome:
				return without(without(body, fieldMaxOutputBytes), fieldAcknowledgesDrain)
			case fieldTask:
				return without(body, fieldTracestate)
			}
			return body
		})}
	case relayNewer:
		later := protowire.AppendTag(nil, fieldLater, protowire.BytesType)
		later = protowire.AppendString(later, "a field of a later version")
		changed := edit(message, func(field protowire.Number, body []byte) []byte {
			if field == fieldWelcome || field == fieldTask || field == fieldHeartbeat {
				return append(append([]byte(nil), body...), later...)
			}
			return body
		})
		// A message of a kind that this version does not have follows each message.
		return [][]byte{changed, later}
	default:
		return [][]byte{message}
	}
}

// edit replaces the messages in the fields of a message.
func edit(message []byte, change func(field protowire.Number, body []byte) []byte) []byte {
	var edited []byte
	for len(message) > 0 {
		field, kind, size := protowire.ConsumeTag(message)
		if size < 0 || kind != protowire.BytesType {
			return append(edited, message...)
		}
		body, length := protowire.ConsumeBytes(message[size:])
		if length < 0 {
			return append(edited, message...)
		}
		edited = protowire.AppendTag(edited, field, kind)
		edited = protowire.AppendBytes(edited, change(field, body))
		message = message[size+length:]
	}
	return edited
}

// without removes a field of a message.
func without(message []byte, unwanted protowire.Number) []byte {
	var rest []byte
	for len(message) > 0 {
		field, _, size := protowire.ConsumeField(message)
		if size < 0 {
			return append(rest, message...)
		}
		if field != unwanted {
			rest = append(rest, message[:size]...)
		}
		message = message[size:]
	}
	return rest
}

// rawCodec passes messages on as bytes.
type rawCodec struct{}

func (rawCodec) Name() string { return "proto" }

func (rawCodec) Marshal(value any) (mem.BufferSlice, error) {
	message, ok := value.(*[]byte)
	if !ok {
		return nil, fmt.Errorf("unexpected message %T", value)
	}
	return mem.BufferSlice{mem.SliceBuffer(*message)}, nil
}

func (rawCodec) Unmarshal(data mem.BufferSlice, value any) error {
	message, ok := value.(*[]byte)
	if !ok {
		return fmt.Errorf("unexpected message %T", value)
	}
	*message = data.Materialize()
	return nil
}
