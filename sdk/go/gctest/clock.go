package gctest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/goconductor/goconductor/sdk/go"
)

// The results of a move of the clock.
const (
	clockAdvanced   = "advanced"
	clockBusy       = "busy"
	clockNothingDue = "nothing_due"
)

// waitInterval is the interval at which a run checks again whether time may pass.
const waitInterval = 5 * time.Millisecond

// maxResponse limits what is read of a response, in bytes.
const maxResponse = 64 << 10

// clockMove is the response to a request to move the clock.
type clockMove struct {
	AdvancedUS int64  `json:"advanced_us"`
	Result     string `json:"result"`
	Due        int    `json:"due"`
	InFlight   int    `json:"in_flight"`
}

func (m clockMove) advanced() time.Duration { return time.Duration(m.AdvancedUS) * time.Microsecond }

// WithVirtualTime makes the clock of the server virtual. Timers, retries, schedules and the deadlines of workflows then
// follow [Server.Advance] and the runs of sagas, and attempts keep their timeouts in real time. All tests of a server
// share its clock, so that a test with a virtual clock needs a server of its own.
func WithVirtualTime() ServerOption {
	return func(s *Server) { s.virtual = true }
}

// Advance moves the virtual clock forward. It stops at each time that is due on the way, and waits there until nothing is
// in flight, so that everything happens at its time and in its order.
func (s *Server) Advance(ctx context.Context, by time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, runTimeout)
	defer cancel()
	for left := by; ; {
		moved, err := s.toNextDue(ctx, &left)
		if err != nil {
			return err
		}
		if moved.Result == clockBusy {
			if ctx.Err() != nil {
				return busy(moved)
			}
			continue
		}
		// The last request only waits until nothing is in flight.
		if left == 0 {
			return nil
		}
		left = max(0, left-moved.advanced())
	}
}

// RunToEnd moves the virtual clock until a saga has ended, or waits for an operator. It returns an error if the saga waits
// for something else than a time, such as a signal.
func (s *Server) RunToEnd(ctx context.Context, saga *goconductor.Handle) (*goconductor.Description, error) {
	ctx, cancel := context.WithTimeout(ctx, runTimeout)
	defer cancel()
	var zero time.Duration
	for {
		moved, err := s.toNextDue(ctx, &zero)
		if err != nil {
			return nil, err
		}
		described, err := saga.Describe(ctx)
		if err != nil {
			return nil, err
		}
		if described.Status.IsFinal() || described.Status == goconductor.StatusError {
			return described, nil
		}
		if moved.Result == clockBusy {
			continue
		}
		moved, err = s.toNextDue(ctx, nil)
		if err != nil {
			return nil, err
		}
		if moved.Result == clockNothingDue {
			return nil, fmt.Errorf("the saga is %s, and no time is due that it could wait for", described.Status)
		}
	}
}

func busy(moved clockMove) error {
	return fmt.Errorf(
		"the clock was not moved: %d rows are due and %d are in flight; does each service have a worker?",
		moved.Due, moved.InFlight,
	)
}

// toNextDue moves the clock to the next time that is due, by at most a duration unless it is nil. The server waits some
// seconds until nothing is in flight.
func (s *Server) toNextDue(ctx context.Context, atMost *time.Duration) (clockMove, error) {
	var moved clockMove
	if !s.virtual {
		return moved, errors.New("the clock of the server is real: start it with gctest.WithVirtualTime()")
	}
	request := map[string]string{"to": "next"}
	if atMost != nil {
		// In milliseconds, rounded up.
		request["at_most"] = fmt.Sprintf("%dms", (*atMost+time.Millisecond-1)/time.Millisecond)
	}
	body, err := json.Marshal(request)
	if err != nil {
		return moved, err
	}
	post, err := http.NewRequestWithContext(ctx, http.MethodPost, s.URL()+"/dev/clock/advance", bytes.NewReader(body))
	if err != nil {
		return moved, err
	}
	post.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(post)
	if err != nil {
		return moved, err
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(response.Body, maxResponse))
	if err != nil {
		return moved, err
	}
	if response.StatusCode != http.StatusOK {
		return moved, fmt.Errorf("the clock was not moved: %s: %s", response.Status, strings.TrimSpace(string(text)))
	}
	return moved, json.Unmarshal(text, &moved)
}

// passTime moves the clock while a saga runs, until ctx ends. The clock stands still from the end of the step after which
// the test cancels the saga until it has.
func (s *Saga) passTime(ctx context.Context, handle *goconductor.Handle, cancelled *atomic.Bool) error {
	var zero time.Duration
	for ctx.Err() == nil {
		moved, err := s.server.toNextDue(ctx, &zero)
		if err != nil {
			return err
		}
		described, err := handle.Describe(ctx)
		if err != nil {
			return err
		}
		if moved.Result != clockBusy && s.mayPass(described, cancelled.Load()) {
			if moved, err = s.server.toNextDue(ctx, nil); err != nil {
				return err
			}
		}
		if moved.Result == clockAdvanced && moved.AdvancedUS > 0 {
			continue
		}
		select {
		case <-ctx.Done():
		case <-time.After(waitInterval):
		}
	}
	return nil
}

func (s *Saga) mayPass(described *goconductor.Description, cancelled bool) bool {
	if described.Status.IsFinal() || described.Status == goconductor.StatusError {
		return false
	}
	step := described.Step(s.cancelAt)
	return cancelled || step == nil || step.Status != "COMPLETED"
}
