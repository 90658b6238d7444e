package main

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/goconductor/goconductor/sdk/go"
)

// call is a call of the client that a scenario asks for.
type call struct {
	Call       string            `json:"call"`
	Name       string            `json:"name"`
	Definition string            `json:"definition"`
	Workflow   string            `json:"workflow"`
	Input      json.RawMessage   `json:"input"`
	Key        string            `json:"key"`
	Labels     map[string]string `json:"labels"`
	Filter     string            `json:"filter"`
	Cron       string            `json:"cron"`
	Reason     string            `json:"reason"`
}

// run calls the client. The result has the names of the REST API.
func (c call) run(ctx context.Context, gateway, namespace string) (map[string]any, error) {
	client, err := goconductor.Connect(gateway, goconductor.WithNamespace(namespace))
	if err != nil {
		return nil, err
	}
	defer func() { _ = client.Close() }()
	handle := client.Workflow(c.Workflow)
	switch c.Call {
	case "apply":
		applied, err := client.Apply(ctx, c.Name, []byte(c.Definition))
		if err != nil {
			return nil, err
		}
		return map[string]any{"version": applied.Version, "created": applied.Created}, nil
	case "start":
		return c.start(ctx, client)
	case "result":
		result, err := handle.Result(ctx)
		if err != nil {
			return nil, err
		}
		return map[string]any{
			"status": result.Status, "cause": result.Cause, "output": null(result.Output), "error": failureOf(result.Failure),
		}, nil
	case "describe":
		described, err := handle.Describe(ctx)
		if err != nil {
			return nil, err
		}
		return describeWorkflow(described), nil
	case "signal":
		return map[string]any{}, handle.Signal(ctx, c.Name, null(c.Input))
	case "cancel":
		return map[string]any{}, handle.Cancel(ctx, c.Reason)
	case "watch":
		return watch(ctx, handle)
	case "list":
		return c.list(ctx, client)
	default:
		return c.schedule(ctx, client)
	}
}

func (c call) start(ctx context.Context, client *goconductor.Client) (map[string]any, error) {
	options := []goconductor.StartOption{goconductor.WithKey(c.Key)}
	if c.Input != nil {
		options = append(options, goconductor.WithInput(c.Input))
	}
	for name, value := range c.Labels {
		options = append(options, goconductor.WithLabel(name, value))
	}
	handle, err := client.Start(ctx, c.Name, options...)
	if err != nil {
		return nil, err
	}
	return map[string]any{"id": handle.ID(), "replayed": handle.Replayed()}, nil
}

func watch(ctx context.Context, handle *goconductor.Handle) (map[string]any, error) {
	var kinds []string
	for event, err := range handle.Watch(ctx) {
		if err != nil {
			return nil, err
		}
		kinds = append(kinds, event.Type)
		if int(event.Seq) != len(kinds) {
			return nil, fmt.Errorf("event %d has the number %d", len(kinds), event.Seq)
		}
	}
	return map[string]any{"types": kinds}, nil
}

func (c call) list(ctx context.Context, client *goconductor.Client) (map[string]any, error) {
	ids := []string{}
	// A small page, so that the pages are followed.
	for workflow, err := range client.List(ctx, goconductor.WithFilter(c.Filter), goconductor.WithPageSize(2)) {
		if err != nil {
			return nil, err
		}
		ids = append(ids, workflow.ID)
	}
	return map[string]any{"ids": ids, "count": len(ids)}, nil
}

func (c call) schedule(ctx context.Context, client *goconductor.Client) (map[string]any, error) {
	switch c.Call {
	case "put_schedule":
		spec := goconductor.ScheduleSpec{Definition: c.Definition, Cron: c.Cron, Input: null(c.Input)}
		put, err := client.PutSchedule(ctx, c.Name, spec)
		if err != nil {
			return nil, err
		}
		return map[string]any{"name": put.Name, "cron": put.Spec.Cron, "paused": put.Paused}, nil
	case "trigger_schedule":
		handle, err := client.TriggerSchedule(ctx, c.Name)
		if err != nil {
			return nil, err
		}
		return map[string]any{"id": handle.ID()}, nil
	case "pause_schedule":
		return map[string]any{}, client.PauseSchedule(ctx, c.Name, c.Reason)
	case "get_schedule":
		got, err := client.Schedule(ctx, c.Name)
		if err != nil {
			return nil, err
		}
		return map[string]any{"name": got.Name, "cron": got.Spec.Cron, "paused": got.Paused}, nil
	case "delete_schedule":
		return map[string]any{}, client.DeleteSchedule(ctx, c.Name)
	default:
		return nil, fmt.Errorf("unknown call %q", c.Call)
	}
}

func describeWorkflow(described *goconductor.Description) map[string]any {
	steps := map[string]any{}
	for _, step := range described.Steps {
		steps[step.Name] = map[string]any{"status": step.Status, "attempts": step.Attempts, "output": null(step.Output)}
	}
	waiting := []string{}
	for _, each := range described.WaitingOn {
		waiting = append(waiting, each.Kind)
	}
	return map[string]any{
		"id": described.ID, "definition": described.Definition, "version": described.Version,
		"status": described.Status, "input": null(described.Input), "labels": described.Labels,
		"idempotency_key": described.IdempotencyKey, "steps": steps, "waiting_on": waiting,
	}
}

func failureOf(failure *goconductor.Failure) any {
	if failure == nil {
		return nil
	}
	return map[string]any{"code": failure.Code, "message": failure.Message, "detail": null(failure.Detail)}
}

// null returns the JSON of a value that may be absent.
func null(text json.RawMessage) json.RawMessage {
	if len(text) == 0 {
		return json.RawMessage("null")
	}
	return text
}
