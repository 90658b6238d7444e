package main

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

const (
	// defaultWithin limits each wait of a scenario.
	defaultWithin = 30 * time.Second
	// shownEvents is the number of events that a failure shows.
	shownEvents = 20
	// serviceName is the service that every driver serves.
	serviceName = "shop"
)

// session is a scenario that runs.
type session struct {
	settings  settings
	scenario  *scenario
	server    *server
	namespace string
	folder    string
	relay     *relay

	driver *driver
	events *events
	// workflows are ids by the names that the scenario gives them.
	workflows map[string]string
	// pending are responses of the driver that the scenario awaits later.
	pending map[string]<-chan map[string]any
	// saved are values of results, by name.
	saved map[string]any
}

func runScenario(s settings, each *scenario, shared *server, folder string) error {
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	run := &session{
		settings: s, scenario: each, server: shared, folder: folder, events: newEvents(),
		namespace: "conformance-" + strings.ToLower(rand.Text()),
		workflows: map[string]string{}, pending: map[string]<-chan map[string]any{}, saved: map[string]any{},
	}
	if each.Server == "own" {
		run.server = newServer(s.server, filepath.Join(folder, "data"))
		if err := run.server.start(); err != nil {
			return err
		}
		defer func() { run.server.stop() }()
	}
	if each.Relay != "" {
		relay, err := startRelay(run.server.address, each.Relay)
		if err != nil {
			return err
		}
		run.relay = relay
		defer relay.stop()
	}
	defer func() {
		if run.driver != nil {
			run.driver.kill()
		}
	}()
	if err := run.all(); err != nil {
		if errors.Is(err, errSkipped) {
			return errSkipped
		}
		all, _ := run.events.snapshot()
		all = all[max(0, len(all)-shownEvents):]
		lines := make([]string, len(all))
		for index, event := range all {
			lines[index] = fmt.Sprintf("    %.300s", show(event))
		}
		return fmt.Errorf("%w\n  last events:\n%s", err, strings.Join(lines, "\n"))
	}
	return nil
}

func (r *session) all() error {
	if r.scenario.Definition != "" {
		status, problem, err := r.server.call(
			http.MethodPut, "/definitions/"+definitionName(r.scenario.Definition), r.namespace, r.scenario.Definition)
		if err != nil || status >= 300 {
			return fmt.Errorf("the definition was not applied: %d %s %w", status, show(problem), errOr(err))
		}
	}
	if err := r.startDriver(nil); err != nil {
		return err
	}
	for index, step := range r.scenario.Run {
		for verb, argument := range step {
			fields, _ := argument.(map[string]any)
			if err := r.step(verb, argument, fields); err != nil {
				return fmt.Errorf("step %d, %s: %w", index+1, verb, err)
			}
		}
	}
	return r.check()
}

func errOr(err error) error {
	if err == nil {
		return errors.New("see the problem")
	}
	return err
}

// definitionName returns the name in `workflow: NAME`.
func definitionName(text string) string {
	for line := range strings.Lines(text) {
		if name, found := strings.CutPrefix(line, "workflow:"); found {
			return strings.TrimSpace(name)
		}
	}
	return ""
}

// step runs a step of the scenario.
func (r *session) step(verb string, argument any, fields map[string]any) error {
	switch verb {
	case "start":
		return r.start(fields)
	case "result":
		return r.result(fields)
	case "cancel", "signal":
		return r.control(verb, fields)
	case "await":
		return r.await(fields)
	case "expect_no":
		return r.expectNo(fields)
	case "release":
		_, err := r.driver.call(map[string]any{"op": "release", "gate": argument}, defaultWithin)
		return err
	case "client":
		return r.client(fields)
	case "drain":
		response, err := r.driver.send(map[string]any{"op": "drain"})
		r.pending["drain"] = response
		return err
	case "await_drained":
		_, err := r.driver.await(r.pending["drain"], within(fields))
		return err
	case "await_exit":
		return r.awaitExit(fields)
	case "sleep_ms":
		time.Sleep(time.Duration(integer(argument)) * time.Millisecond)
		return nil
	default:
		return r.process(verb, fields)
	}
}

// process runs a step that starts, ends or suspends a process.
func (r *session) process(verb string, fields map[string]any) error {
	switch verb {
	case "kill_driver":
		r.driver.kill()
		return nil
	case "start_driver":
		return r.startDriver(fields)
	case "stop_driver":
		r.driver.signal(syscall.SIGSTOP)
		return nil
	case "continue_driver":
		r.driver.signal(syscall.SIGCONT)
		return nil
	case "kill_server":
		r.server.kill()
		return nil
	case "start_server":
		return r.server.start()
	case "drop_connections", "hold_tasks", "await_held_task", "forward_tasks":
		return r.relayStep(verb, fields)
	default:
		return errors.New("unknown step; README.md lists the steps")
	}
}

// relayStep runs a step of the relay.
func (r *session) relayStep(verb string, fields map[string]any) error {
	if r.relay == nil {
		return errors.New("the scenario has no relay")
	}
	switch verb {
	case "drop_connections":
		r.relay.drop()
	case "hold_tasks":
		r.relay.holdTasks()
	case "await_held_task":
		return r.relay.awaitHeldTask(within(fields))
	case "forward_tasks":
		r.relay.forwardTasks()
	}
	return nil
}

// startDriver starts a driver and serves the actions. Fields of the step replace those of the scenario.
func (r *session) startDriver(fields map[string]any) error {
	started, err := startDriver(r.settings.command, r.events, r.settings.verbose)
	if err != nil {
		return err
	}
	r.driver = started
	hello, err := started.call(map[string]any{"op": "hello"}, defaultWithin)
	if err != nil {
		return err
	}
	capabilities, _ := hello["capabilities"].([]any)
	for _, required := range r.scenario.Requires {
		if !slices.Contains(capabilities, any(required)) {
			return errSkipped
		}
	}
	request := map[string]any{
		"op": "serve", "gateway": r.server.url(), "namespace": r.namespace, "service": serviceName,
		"capacity": max(1, r.scenario.Capacity), "limits": r.scenario.Limits, "actions": r.scenario.Actions,
		"database": filepath.Join(r.folder, "participant.db"), "broken": r.settings.broken,
	}
	if r.scenario.Capacity == 0 {
		request["capacity"] = 16
	}
	if r.relay != nil {
		request["executors"] = []string{r.relay.url()}
	}
	for name, value := range fields {
		request[name] = value
	}
	_, err = started.call(request, time.Minute)
	return err
}

// start starts a workflow by REST.
func (r *session) start(fields map[string]any) error {
	body := map[string]any{"definition": definitionName(r.scenario.Definition)}
	if input, ok := fields["input"]; ok {
		body["input"] = input
	}
	if text, ok := fields["input_json"].(string); ok {
		body["input"] = json.RawMessage(text)
	}
	status, workflow, err := r.server.call(http.MethodPost, "/workflows", r.namespace, body)
	if err != nil {
		return err
	}
	if status != http.StatusCreated {
		return fmt.Errorf("status %d: %s", status, show(workflow))
	}
	id, _ := workflow["id"].(string)
	r.workflows[name(fields)] = id
	return nil
}

func name(fields map[string]any) string {
	if text, ok := fields["workflow"].(string); ok {
		return text
	}
	return "w"
}

// result waits for the end of a workflow and compares it with what is expected.
func (r *session) result(fields map[string]any) error {
	path := "/workflows/" + r.workflows[name(fields)]
	deadline := time.Now().Add(within(fields))
	var workflow map[string]any
	for {
		status, _, err := r.server.call(http.MethodGet, path+"/result?wait=1s", r.namespace, nil)
		if err != nil {
			return err
		}
		if status == http.StatusOK {
			break
		}
		if time.Now().After(deadline) {
			_, workflow, _ = r.server.call(http.MethodGet, path, r.namespace, nil)
			return fmt.Errorf("the workflow has not ended within %v: %s", within(fields), show(workflow))
		}
	}
	_, workflow, err := r.server.call(http.MethodGet, path, r.namespace, nil)
	if err != nil {
		return err
	}
	expected, _ := fields["is"].(map[string]any)
	if !matches(expected, workflow) {
		return fmt.Errorf("expected %s, got %s", show(expected), show(workflow))
	}
	return r.steps(fields, workflow)
}

// steps compares the steps of a workflow, by name.
func (r *session) steps(fields map[string]any, workflow map[string]any) error {
	expected, _ := fields["steps"].(map[string]any)
	list, _ := workflow["steps"].([]any)
	for step, state := range expected {
		found := slices.ContainsFunc(list, func(each any) bool {
			object, _ := each.(map[string]any)
			return object["name"] == step && matches(state, each)
		})
		if !found {
			return fmt.Errorf("expected the step %s to be %s, got %s", step, show(state), show(list))
		}
	}
	return nil
}

func (r *session) control(verb string, fields map[string]any) error {
	path := "/workflows/" + r.workflows[name(fields)] + "/" + verb
	var body any = map[string]any{"reason": "the scenario cancels it"}
	if verb == "signal" {
		path = fmt.Sprintf("/workflows/%s/signals/%s", r.workflows[name(fields)], fields["name"])
		body = fields["payload"]
	}
	status, problem, err := r.server.call(http.MethodPost, path, r.namespace, body)
	if err == nil && status >= 300 {
		err = fmt.Errorf("status %d: %s", status, show(problem))
	}
	return err
}

// await waits for an event of the driver. `count` is the number of such events (default: 1).
func (r *session) await(fields map[string]any) error {
	expected, _ := fields["event"].(map[string]any)
	count := max(1, integer(fields["count"]))
	timeout := time.After(within(fields))
	for {
		all, changed := r.events.snapshot()
		if found := r.count(all, expected); found >= count {
			return nil
		}
		select {
		case <-changed:
		case <-timeout:
			return fmt.Errorf("no %d events %s within %v", count, show(expected), within(fields))
		}
	}
}

func (r *session) count(all []map[string]any, expected map[string]any) int {
	found := 0
	for _, event := range all {
		if matches(expected, event) {
			found++
		}
	}
	return found
}

// expectNo fails if more than `count` such events (default: 0) occur within a time.
func (r *session) expectNo(fields map[string]any) error {
	expected, _ := fields["event"].(map[string]any)
	time.Sleep(time.Duration(integer(fields["for_ms"])) * time.Millisecond)
	all, _ := r.events.snapshot()
	if found := r.count(all, expected); found > integer(fields["more_than"]) {
		return fmt.Errorf("%d events %s", found, show(expected))
	}
	return nil
}

func (r *session) awaitExit(fields map[string]any) error {
	select {
	case <-r.driver.exited:
		return nil
	case <-time.After(within(fields)):
		return errors.New("the driver still runs")
	}
}

// client lets the driver call its client. `$name` in a text of the request is a value that an earlier call saved.
func (r *session) client(fields map[string]any) error {
	request := map[string]any{"op": "client", "gateway": r.server.url(), "namespace": r.namespace}
	for key, value := range fields {
		if text, ok := value.(string); ok && strings.HasPrefix(text, "$") {
			value = r.saved[text[1:]]
		}
		switch key {
		case "is", "fails", "save", "within_s":
		default:
			request[key] = value
		}
	}
	result, err := r.driver.call(request, within(fields))
	var reported *failure
	if expected, fails := fields["fails"]; fails {
		if !errors.As(err, &reported) || !matches(expected, reported.fields) {
			return fmt.Errorf("expected the error %s, got %s, %v", show(expected), show(result), err)
		}
		return nil
	}
	if err != nil {
		return err
	}
	if !matches(fields["is"], result) && fields["is"] != nil {
		return fmt.Errorf("expected %s, got %s", show(fields["is"]), show(result))
	}
	saved, _ := fields["save"].(map[string]any)
	for field, name := range saved {
		r.saved[fmt.Sprint(name)] = result[field]
		r.workflows[fmt.Sprint(name)] = fmt.Sprint(result[field])
	}
	return nil
}

func within(fields map[string]any) time.Duration {
	if seconds := integer(fields["within_s"]); seconds > 0 {
		return time.Duration(seconds) * time.Second
	}
	return defaultWithin
}

func integer(value any) int {
	number, _ := normal(value).(json.Number)
	converted, _ := number.Int64()
	return int(converted)
}
