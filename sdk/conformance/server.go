package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	startTimeout = 60 * time.Second
	stopTimeout  = 15 * time.Second
	callTimeout  = 30 * time.Second
	// outputLimit is the maximum size of an output that the scenarios expect, regardless of the server's default.
	outputLimit = "limits.output_bytes=1048576"
)

// server is a process `goconductor dev`.
type server struct {
	binary, data, address string

	process *exec.Cmd
	exited  chan struct{}
	output  *output
}

// newServer returns a server that keeps its data in a folder, or in memory without one.
func newServer(binary, data string) *server { return &server{binary: binary, data: data} }

func (s *server) url() string { return "http://" + s.address }

func (s *server) start() error {
	if s.address == "" {
		address, err := freeAddress()
		if err != nil {
			return err
		}
		s.address = address
	}
	arguments := []string{"dev", "--listen", s.address, "--log-level", "warn", "--set", outputLimit}
	if s.data == "" {
		arguments = append(arguments, "--ephemeral")
	} else {
		arguments = append(arguments, "--data-dir", s.data)
	}
	s.process = exec.Command(s.binary, arguments...)
	// Variables of the environment are settings of the server.
	for _, variable := range os.Environ() {
		if !strings.HasPrefix(variable, "GOCONDUCTOR_") {
			s.process.Env = append(s.process.Env, variable)
		}
	}
	s.output = &output{}
	s.process.Stdout, s.process.Stderr = s.output, s.output
	s.exited = make(chan struct{})
	if err := launch(s.process, s.exited, func() {}); err != nil {
		return fmt.Errorf("failed to start %s: %w", s.binary, err)
	}
	return s.awaitReady()
}

// launch starts a process that does not outlive this one. It calls read, and closes exited when the process has ended.
func launch(process *exec.Cmd, exited chan<- struct{}, read func()) error {
	endWithParent(process)
	started := make(chan error)
	go func() {
		// For the system, the thread that started a process is its parent. It must exist as long as the process.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := process.Start()
		started <- err
		if err == nil {
			read()
			_ = process.Wait()
			close(exited)
		}
	}()
	return <-started
}

// freeAddress returns an address that no process listens on. A restart needs the same address again, so that the port is
// below those that the system gives to outgoing connections.
func freeAddress() (string, error) {
	for range 100 {
		address := fmt.Sprintf("127.0.0.1:%d", 10000+rand.IntN(10000))
		if listener, err := net.Listen("tcp", address); err == nil {
			return address, listener.Close()
		}
	}
	return "", errors.New("found no free port in 100 attempts")
}

func (s *server) awaitReady() error {
	for end := time.Now().Add(startTimeout); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		select {
		case <-s.exited:
			return fmt.Errorf("%s ended before it was ready:\n%s", s.binary, s.output.String())
		default:
		}
		response, err := http.Get(s.url() + "/readyz")
		if err != nil {
			continue
		}
		_ = response.Body.Close()
		if response.StatusCode == http.StatusOK {
			return nil
		}
	}
	s.kill()
	return fmt.Errorf("%s was not ready within %v:\n%s", s.binary, startTimeout, s.output.String())
}

func (s *server) kill() {
	_ = s.process.Process.Kill()
	<-s.exited
}

func (s *server) stop() {
	_ = s.process.Process.Signal(syscall.SIGTERM)
	select {
	case <-s.exited:
	case <-time.After(stopTimeout):
		s.kill()
	}
}

// call calls the REST API in a namespace. It returns the status and the JSON of the response.
func (s *server) call(method, path, namespace string, body any) (int, map[string]any, error) {
	var content io.Reader
	kind := "application/json"
	switch body := body.(type) {
	case nil:
	case string:
		content, kind = strings.NewReader(body), "application/yaml"
	case json.RawMessage:
		content = bytes.NewReader(body)
	default:
		text, err := json.Marshal(body)
		if err != nil {
			return 0, nil, err
		}
		content = bytes.NewReader(text)
	}
	request, err := http.NewRequest(method, s.url()+"/api/v1"+path, content)
	if err != nil {
		return 0, nil, err
	}
	request.Header.Set("GoConductor-Namespace", namespace)
	request.Header.Set("Content-Type", kind)
	client := http.Client{Timeout: callTimeout}
	response, err := client.Do(request)
	if err != nil {
		return 0, nil, err
	}
	defer func() { _ = response.Body.Close() }()
	decoder := json.NewDecoder(response.Body)
	decoder.UseNumber()
	var decoded map[string]any
	if err := decoder.Decode(&decoded); err != nil && err != io.EOF {
		return response.StatusCode, nil, fmt.Errorf("%s %s: status %d: %w", method, path, response.StatusCode, err)
	}
	return response.StatusCode, decoded, nil
}

// output is the output of a process.
type output struct {
	mutex sync.Mutex
	text  bytes.Buffer
}

func (o *output) Write(text []byte) (int, error) {
	o.mutex.Lock()
	defer o.mutex.Unlock()
	return o.text.Write(text)
}

// size returns the size in bytes.
func (o *output) size() int {
	o.mutex.Lock()
	defer o.mutex.Unlock()
	return o.text.Len()
}

func (o *output) String() string {
	o.mutex.Lock()
	defer o.mutex.Unlock()
	return o.text.String()
}
