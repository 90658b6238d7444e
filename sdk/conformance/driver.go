package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"
)

// maxLine is the maximum size of a message of a driver in bytes.
const maxLine = 64 << 20

var errDriverEnded = errors.New("the driver ended")

// driver is a process of an SDK.
type driver struct {
	process *exec.Cmd
	input   io.WriteCloser
	exited  chan struct{}
	log     *output
	verbose bool

	mutex     sync.Mutex
	next      int
	responses map[int]chan map[string]any
	// events are shared by all processes of a scenario.
	events *events
}

// events are the events of a scenario.
type events struct {
	mutex   sync.Mutex
	all     []map[string]any
	changed chan struct{}
}

func newEvents() *events { return &events{changed: make(chan struct{})} }

func (e *events) add(event map[string]any) {
	e.mutex.Lock()
	defer e.mutex.Unlock()
	e.all = append(e.all, event)
	close(e.changed)
	e.changed = make(chan struct{})
}

func (e *events) snapshot() ([]map[string]any, <-chan struct{}) {
	e.mutex.Lock()
	defer e.mutex.Unlock()
	return append([]map[string]any(nil), e.all...), e.changed
}

func startDriver(command []string, all *events, verbose bool) (*driver, error) {
	d := &driver{
		process:   exec.Command(command[0], command[1:]...),
		exited:    make(chan struct{}),
		log:       &output{},
		verbose:   verbose,
		responses: map[int]chan map[string]any{},
		events:    all,
	}
	d.process.Stderr = d.log
	// The driver kills itself in some scenarios, so its process group must end its children as well.
	d.process.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	var err error
	if d.input, err = d.process.StdinPipe(); err != nil {
		return nil, err
	}
	messages, err := d.process.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := launch(d.process, d.exited, func() { d.read(messages) }); err != nil {
		return nil, fmt.Errorf("failed to start the driver: %w", err)
	}
	return d, nil
}

func (d *driver) read(messages io.Reader) {
	lines := bufio.NewScanner(messages)
	lines.Buffer(nil, maxLine)
	for lines.Scan() {
		if d.verbose {
			fmt.Fprintf(os.Stderr, "  < %.400s\n", lines.Bytes())
		}
		decoder := json.NewDecoder(bytes.NewReader(lines.Bytes()))
		decoder.UseNumber()
		var message map[string]any
		if err := decoder.Decode(&message); err != nil {
			_, _ = fmt.Fprintf(d.log, "the driver wrote a line that is not JSON: %.200s\n", lines.Bytes())
			continue
		}
		if _, isEvent := message["event"]; isEvent {
			d.events.add(message)
			continue
		}
		id, _ := message["id"].(json.Number)
		number, _ := id.Int64()
		d.mutex.Lock()
		response := d.responses[int(number)]
		delete(d.responses, int(number))
		d.mutex.Unlock()
		if response != nil {
			response <- message
		}
	}
}

// send sends a request, and returns the channel of its response.
func (d *driver) send(request map[string]any) (<-chan map[string]any, error) {
	response := make(chan map[string]any, 1)
	d.mutex.Lock()
	d.next++
	request["id"] = d.next
	d.responses[d.next] = response
	d.mutex.Unlock()
	line, err := json.Marshal(request)
	if err != nil {
		return nil, err
	}
	if d.verbose {
		fmt.Fprintf(os.Stderr, "  > %.400s\n", line)
	}
	if _, err := d.input.Write(append(line, '\n')); err != nil {
		return nil, errors.Join(errDriverEnded, err)
	}
	return response, nil
}

// failure is an error that the driver reports.
type failure struct{ fields map[string]any }

func (f *failure) Error() string { return fmt.Sprintf("the driver reports %v", f.fields) }

func (d *driver) await(response <-chan map[string]any, timeout time.Duration) (map[string]any, error) {
	select {
	case message := <-response:
		if fields, failed := message["error"].(map[string]any); failed {
			return nil, &failure{fields}
		}
		result, _ := message["result"].(map[string]any)
		return result, nil
	case <-d.exited:
		return nil, fmt.Errorf("%w; it wrote:\n%s", errDriverEnded, d.log.String())
	case <-time.After(timeout):
		return nil, fmt.Errorf("the driver did not respond within %v; it wrote:\n%s", timeout, d.log.String())
	}
}

func (d *driver) call(request map[string]any, timeout time.Duration) (map[string]any, error) {
	response, err := d.send(request)
	if err != nil {
		return nil, err
	}
	return d.await(response, timeout)
}

func (d *driver) signal(signal syscall.Signal) { _ = syscall.Kill(-d.process.Process.Pid, signal) }

// kill ends the driver by SIGKILL.
func (d *driver) kill() {
	d.signal(syscall.SIGKILL)
	<-d.exited
}
