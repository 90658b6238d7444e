// Command conformance is the driver of the Go SDK for the conformance suite. sdk/conformance/README.md documents the
// protocol.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"

	"github.com/goconductor/goconductor/sdk/go"
)

// maxLine is the maximum size of a request in bytes.
const maxLine = 64 << 20

// request is a request of the runner.
type request struct {
	ID        int                 `json:"id"`
	Op        string              `json:"op"`
	Gateway   string              `json:"gateway"`
	Namespace string              `json:"namespace"`
	Executors []string            `json:"executors"`
	Service   string              `json:"service"`
	Capacity  int                 `json:"capacity"`
	Limits    map[string]int      `json:"limits"`
	Actions   map[string][]script `json:"actions"`
	Database  string              `json:"database"`
	Broken    string              `json:"broken"`
	Quiet     bool                `json:"quiet"`
	Gate      string              `json:"gate"`
	call
}

// driver is the state of the process.
type driver struct {
	mutex  sync.Mutex
	gates  map[string]chan struct{}
	client *goconductor.Client
	worker *goconductor.Worker
	box    *box
	broken string
	// quiet is set if attempts are not reported.
	quiet bool
}

var output sync.Mutex

// write writes a message. Messages of concurrent actions do not mix.
func write(message any) {
	text, err := json.Marshal(message)
	if err != nil {
		text = fmt.Appendf(nil, `{"event":"broken","message":%q}`, err.Error())
	}
	output.Lock()
	defer output.Unlock()
	// A runner that has ended does not read.
	_, _ = os.Stdout.Write(append(text, '\n'))
}

func main() {
	slog.SetDefault(slog.New(slog.NewTextHandler(os.Stderr, nil)))
	d := &driver{gates: map[string]chan struct{}{}}
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, maxLine)
	var group sync.WaitGroup
	for lines.Scan() {
		var r request
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			slog.Error("malformed request", "error", err)
			os.Exit(2)
		}
		group.Go(func() { d.respond(r) })
	}
	group.Wait()
}

func (d *driver) respond(r request) {
	result, err := d.handle(context.Background(), r)
	if err != nil {
		write(map[string]any{"id": r.ID, "error": describe(err)})
		return
	}
	write(map[string]any{"id": r.ID, "result": result})
}

func (d *driver) handle(ctx context.Context, r request) (any, error) {
	switch r.Op {
	case "hello":
		return map[string]any{"sdk": "go", "capabilities": []string{"inbox", "client", "drops_expired"}}, nil
	case "serve":
		return struct{}{}, d.serve(ctx, r)
	case "drain":
		return struct{}{}, d.worker.Shutdown(ctx)
	case "release":
		d.release(r.Gate)
		return struct{}{}, nil
	case "effects":
		effects, err := d.box.effects(ctx)
		return map[string]any{"effects": effects}, err
	case "client":
		return r.call.run(ctx, r.Gateway, r.Namespace)
	default:
		return nil, fmt.Errorf("unknown operation %q", r.Op)
	}
}

// serve connects the service with the actions of the scenario.
func (d *driver) serve(ctx context.Context, r request) error {
	var err error
	d.broken, d.quiet = r.Broken, r.Quiet
	if d.box, err = openBox(ctx, r.Database, r.Broken); err != nil {
		return err
	}
	d.client, err = goconductor.Connect(r.Gateway,
		goconductor.WithNamespace(r.Namespace), goconductor.WithExecutors(r.Executors...))
	if err != nil {
		return err
	}
	service := goconductor.NewService(r.Service, goconductor.Capacity(r.Capacity), goconductor.Version("1.0.0"))
	for name, scripts := range r.Actions {
		var options []goconductor.ActionOption
		if limit := r.Limits[name]; limit > 0 {
			options = append(options, goconductor.MaxInFlight(limit))
		}
		service.Handle(name, d.action(scripts), options...)
	}
	if d.worker, err = d.client.Serve(service); err != nil {
		return err
	}
	return d.worker.Connected(ctx)
}

// gate returns the channel that is closed when a gate is released.
func (d *driver) gate(name string) chan struct{} {
	d.mutex.Lock()
	defer d.mutex.Unlock()
	if d.gates[name] == nil {
		d.gates[name] = make(chan struct{})
	}
	return d.gates[name]
}

func (d *driver) release(name string) {
	gate := d.gate(name)
	d.mutex.Lock()
	defer d.mutex.Unlock()
	select {
	case <-gate:
	default:
		close(gate)
	}
}

// describe describes an error of a call.
func describe(err error) map[string]any {
	fields := map[string]any{"message": err.Error(), "kind": "other"}
	kinds := map[string]error{
		"not_found": goconductor.ErrNotFound, "conflict": goconductor.ErrConflict, "invalid": goconductor.ErrInvalid,
		"not_allowed": goconductor.ErrNotAllowed, "overloaded": goconductor.ErrOverloaded,
		"unreachable": goconductor.ErrUnreachable, "timeout": goconductor.ErrTimeout, "misuse": goconductor.ErrMisuse,
	}
	for name, kind := range kinds {
		if errors.Is(err, kind) {
			fields["kind"] = name
		}
	}
	var described *goconductor.Error
	if errors.As(err, &described) {
		fields["code"] = described.Code
	}
	return fields
}
