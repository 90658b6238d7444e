package goconductor

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"time"

	pb "github.com/goconductor/goconductor/sdk/go/goconductorv1"
)

const (
	// startTimeout limits the retries of a start while the gateway is overloaded.
	startTimeout = time.Minute
	// overloadDelay is the delay of a retry if the gateway sets none.
	overloadDelay = time.Second
)

// StartOption is an option of a start.
type StartOption func(*startRequest)

type startRequest struct {
	pb.StartWorkflowRequest
	err error
}

// WithInput sets the input of the workflow (default: {}). It is converted to JSON.
func WithInput(input any) StartOption {
	return func(s *startRequest) {
		text, err := encode(input)
		if err != nil {
			s.err = misuse("the input cannot be converted to JSON: %v", err)
		}
		s.InputJson = string(text)
	}
}

// WithKey sets an idempotency key that is unique in the namespace. A repeated start returns the existing workflow, so
// that a start can be retried if its response was lost.
func WithKey(key string) StartOption {
	return func(s *startRequest) { s.IdempotencyKey = key }
}

// WithLabel adds a label to find the workflow by.
func WithLabel(name, value string) StartOption {
	return func(s *startRequest) {
		if s.Labels == nil {
			s.Labels = map[string]string{}
		}
		s.Labels[name] = value
	}
}

// WithVersion selects a version of the definition (default: the newest).
func WithVersion(version int) StartOption {
	return func(s *startRequest) {
		number := uint32(max(0, version))
		s.Version = &number
	}
}

// StartWorkflow applies and starts a workflow whose steps are functions. The steps run in this program until the client is
// closed. The functions are those of the first call with this name, so that they must get what differs between workflows
// from [Input], not from variables that they capture. It returns [ErrMisuse] if the workflow is incomplete, and [ErrNoExecutor] if no executor accepts the worker
// within 30 seconds.
func (c *Client) StartWorkflow(ctx context.Context, workflow Workflow, options ...StartOption) (*Handle, error) {
	definition, err := workflow.Definition()
	if err != nil {
		return nil, err
	}
	name := workflow.DefinitionName()
	applied, err := c.Apply(ctx, name, definition)
	if err != nil {
		return nil, err
	}
	worker, err := c.serveOnce(workflow)
	if err != nil {
		return nil, err
	}
	if err := worker.Connected(ctx); err != nil {
		return nil, err
	}
	return c.Start(ctx, name, append([]StartOption{WithVersion(applied.Version)}, options...)...)
}

// serveOnce returns the worker of a workflow, and starts it on the first call.
func (c *Client) serveOnce(workflow Workflow) (*Worker, error) {
	name := workflow.DefinitionName()
	c.mutex.Lock()
	defer c.mutex.Unlock()
	if c.closed {
		return nil, misuse("the client is closed")
	}
	service, err := workflow.Service()
	if err != nil {
		return nil, err
	}
	if worker, ok := c.workers[name]; ok {
		if !slices.Equal(worker.service.Actions(), service.Actions()) {
			return nil, misuse("the client already serves a workflow %s with other steps; use another name", name)
		}
		return worker, nil
	}
	worker, err := c.Serve(service)
	if err != nil {
		return nil, err
	}
	c.workers[name] = worker
	return worker, nil
}

// Start starts a workflow of an applied definition. While the gateway is overloaded, the start is retried after the delay
// that the gateway requests, for up to a minute. A start whose response was lost may have taken effect: use [WithKey] to
// retry it.
func (c *Client) Start(ctx context.Context, definition string, options ...StartOption) (*Handle, error) {
	request := startRequest{}
	request.Definition = definition
	for _, option := range options {
		option(&request)
	}
	if request.err != nil {
		return nil, request.err
	}
	deadline := time.Now().Add(startTimeout)
	for {
		response, err := c.workflows.StartWorkflow(ctx, &request.StartWorkflowRequest)
		if err == nil {
			started := response.GetWorkflow()
			return &Handle{client: c, id: started.GetId(), replayed: response.GetReplayed()}, nil
		}
		err = fromStatus(err)
		delay, retry := overloaded(err)
		if !retry || time.Now().Add(delay).After(deadline) {
			return nil, err
		}
		if sleep(ctx, delay) != nil {
			return nil, err
		}
	}
}

// overloaded returns the delay after which a call that was refused because of overload is retried. It had no effect.
func overloaded(err error) (time.Duration, bool) {
	var described *Error
	if !errors.As(err, &described) || !errors.Is(err, ErrOverloaded) {
		return 0, false
	}
	if described.RetryDelay > 0 {
		return described.RetryDelay, true
	}
	return overloadDelay, true
}

// sleep waits for the duration or until the context ends, whose error it returns.
func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Applied is the result of applying a definition.
type Applied struct {
	// Name is the name of the definition.
	Name string
	// Version is its newest version, from 1.
	Version int
	// Digest is equal for definitions with equal content.
	Digest string
	// Created reports whether the call created the version.
	Created bool
	// Warnings are parts of the definition that are probably mistakes.
	Warnings []Warning
}

// Warning is a part of a definition that was accepted and is probably a mistake.
type Warning struct {
	// Code is the stable code.
	Code string
	// Pointer is a JSON pointer into the definition.
	Pointer string
	// Line and Column are counted from 1.
	Line, Column int
	// Detail describes the problem and its correction.
	Detail string
}

// Apply applies a definition in YAML or JSON. Equal content changes nothing, and changed content becomes the next version.
// It returns [ErrInvalid] with every problem of an invalid definition.
func (c *Client) Apply(ctx context.Context, name string, definition []byte) (*Applied, error) {
	return c.apply(ctx, name, definition, false)
}

// Validate checks a definition without storing it.
func (c *Client) Validate(ctx context.Context, name string, definition []byte) (*Applied, error) {
	return c.apply(ctx, name, definition, true)
}

func (c *Client) apply(ctx context.Context, name string, definition []byte, dryRun bool) (*Applied, error) {
	format := pb.DefinitionFormat_DEFINITION_FORMAT_YAML
	if json.Valid(definition) {
		format = pb.DefinitionFormat_DEFINITION_FORMAT_JSON
	}
	response, err := c.definitions.ApplyDefinition(ctx, &pb.ApplyDefinitionRequest{
		Name: name, Format: format, Source: string(definition), DryRun: dryRun,
	})
	if err != nil {
		return nil, fromStatus(err)
	}
	applied := &Applied{
		Name:    response.GetName(),
		Version: int(response.GetVersion()),
		Digest:  response.GetDigest(),
		Created: response.GetCreated(),
	}
	for _, warning := range response.GetWarnings() {
		applied.Warnings = append(applied.Warnings, Warning{
			Code: warning.GetCode(), Pointer: warning.GetPointer(),
			Line: int(warning.GetLine()), Column: int(warning.GetColumn()), Detail: warning.GetDetail(),
		})
	}
	return applied, nil
}
