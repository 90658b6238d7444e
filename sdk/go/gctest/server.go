// Package gctest tests sagas against the real engine: a child process `goconductor dev`, the real actions, and injected
// faults.
//
//	func TestOrder(t *testing.T) {
//		saga := gctest.New(t, gctest.Start(t), workflow)
//		run := saga.Inject(gctest.OnExecute("update_inventory"), gctest.Refuse).Run(order)
//		run.AssertStatus(goconductor.StatusRolledBack)
//		run.AssertExecuted("process_payment")
//		run.AssertCompensated("process_payment")
//	}
//
// A server [WithVirtualTime] moves its clock to the next time that is due whenever nothing is in flight, so that a saga
// that sleeps for 30 days ends at once.
//
// The program goconductor is that of the environment variable GOCONDUCTOR_BINARY, or the one in the PATH.
package gctest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/goconductor/goconductor/sdk/go"
)

const (
	// startTimeout is how long a server may take to start.
	startTimeout = 30 * time.Second
	// stopTimeout is how long a server may take to end before it is killed.
	stopTimeout = 10 * time.Second
	// logLines is the number of lines of the log that an error shows.
	logLines = 20
)

// Server is a child process `goconductor dev`.
type Server struct {
	binary  string
	data    string
	address string
	extra   []string
	virtual bool

	process *exec.Cmd
	exited  <-chan struct{}
	log     *tail
}

// ServerOption is an option of [Start].
type ServerOption func(*Server)

// WithDataDir keeps the data in a directory, so that it survives [Server.Kill] and [Server.Restart] (default: in memory).
func WithDataDir(directory string) ServerOption {
	return func(s *Server) { s.data = directory }
}

// WithArguments adds arguments to the command, such as `--set executor.worker_lease=2s`.
func WithArguments(arguments ...string) ServerOption {
	return func(s *Server) { s.extra = append(s.extra, arguments...) }
}

// Start starts a server that ends with the test. The test fails if the server does not start.
func Start(t testing.TB, options ...ServerOption) *Server {
	t.Helper()
	server, err := StartServer(options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Stop)
	return server
}

// StartServer starts a server, for TestMain. Call [Server.Stop] at the end.
func StartServer(options ...ServerOption) (*Server, error) {
	server := &Server{binary: os.Getenv("GOCONDUCTOR_BINARY")}
	for _, option := range options {
		option(server)
	}
	if server.binary == "" {
		binary, err := exec.LookPath("goconductor")
		if err != nil {
			return nil, errors.New("the program goconductor was not found: set GOCONDUCTOR_BINARY to its path")
		}
		server.binary = binary
	}
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	server.address = address
	if err := server.start(); err != nil {
		return nil, err
	}
	return server, nil
}

// URL returns the address of the gateway.
func (s *Server) URL() string { return "http://" + s.address }

// Client returns a client that is closed at the end of the test.
func (s *Server) Client(t testing.TB, options ...goconductor.Option) *goconductor.Client {
	t.Helper()
	client, err := goconductor.Connect(s.URL(), options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return client
}

// Stop ends the server.
func (s *Server) Stop() {
	if s.process == nil {
		return
	}
	_ = s.process.Process.Signal(syscall.SIGTERM)
	select {
	case <-s.exited:
	case <-time.After(stopTimeout):
		s.Kill()
	}
	s.process = nil
}

// Kill ends the server by SIGKILL, as a crash of the machine would.
func (s *Server) Kill() {
	if s.process == nil {
		return
	}
	_ = s.process.Process.Kill()
	<-s.exited
	s.process = nil
}

// Restart starts the server again at the same address.
func (s *Server) Restart() error {
	s.Stop()
	return s.start()
}

// Log returns the last lines of the log.
func (s *Server) Log() string { return s.log.String() }

func (s *Server) start() error {
	arguments := []string{"dev", "--listen", s.address, "--log-level", "warn"}
	if s.data == "" {
		arguments = append(arguments, "--ephemeral")
	} else {
		arguments = append(arguments, "--data-dir", s.data)
	}
	if s.virtual {
		arguments = append(arguments, "--virtual-time")
	}
	process := exec.Command(s.binary, append(arguments, s.extra...)...)
	// Variables of the environment are settings of the server.
	for _, variable := range os.Environ() {
		if !strings.HasPrefix(variable, "GOCONDUCTOR_") {
			process.Env = append(process.Env, variable)
		}
	}
	ready := make(chan struct{})
	s.log = &tail{ready: ready}
	process.Stdout, process.Stderr = s.log, s.log
	exited, err := launch(process)
	if err != nil {
		return fmt.Errorf("failed to start %s: %w", s.binary, err)
	}
	s.process, s.exited = process, exited
	select {
	case <-ready:
		return nil
	case <-exited:
		s.process = nil
		return fmt.Errorf("%s ended before it was ready:\n%s", s.binary, s.Log())
	case <-time.After(startTimeout):
		s.Kill()
		return fmt.Errorf("%s was not ready within %v:\n%s", s.binary, startTimeout, s.Log())
	}
}

// launch starts a process that does not outlive this one, and returns a channel that is closed at its end.
func launch(process *exec.Cmd) (<-chan struct{}, error) {
	endWithParent(process)
	started, exited := make(chan error), make(chan struct{})
	go func() {
		// For the system, the thread that started a process is its parent. It must exist as long as the process.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := process.Start()
		started <- err
		if err == nil {
			_ = process.Wait()
			close(exited)
		}
	}()
	return exited, <-started
}

var readyLine = regexp.MustCompile(`(?m)^GoConductor .* is ready$`)

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

// tail keeps the last lines of the output, and closes ready when the server says that it is ready.
type tail struct {
	ready chan struct{}

	mutex     sync.Mutex
	text      string
	announced bool
}

func (t *tail) Write(text []byte) (int, error) {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	t.text += string(text)
	if !t.announced && readyLine.MatchString(t.text) {
		t.announced = true
		close(t.ready)
	}
	lines := strings.SplitAfter(t.text, "\n")
	t.text = strings.Join(lines[max(0, len(lines)-logLines):], "")
	return len(text), nil
}

func (t *tail) String() string {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	return t.text
}
