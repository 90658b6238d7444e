package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"syscall"
	"time"
)

// spareRestarts is the number of restarts of a participant beyond those of the plan. A kill during a start needs one.
const spareRestarts = 10

// serveTimeout limits the start of a driver. All of them start at the same time, on a machine that may be busy.
const serveTimeout = 3 * time.Minute

// participant is a service of a kill run: a driver that is started again when it was killed. Its database is kept.
type participant struct {
	sdk string
	run *killRun
	// kill receives a value for each kill at a random time.
	kill chan struct{}

	// The goroutine of supervise owns these fields until it returns.
	driver *driver
	// afterCommit is the number of times that the driver ended itself, which it does between commit and answer.
	afterCommit int
	// atRandom is the number of kills from outside.
	atRandom int
}

func newParticipant(run *killRun, sdk string) *participant {
	return &participant{run: run, sdk: sdk, kill: make(chan struct{}, run.settings.kills)}
}

// supervise keeps the driver running until the sagas have ended or the run is over. If the sagas have ended, the driver runs
// when it returns.
func (p *participant) supervise(ctx context.Context, sagasEnded <-chan struct{}) error {
	for starts := 0; ; starts++ {
		if limit := 3*p.run.settings.kills + spareRestarts; starts > limit {
			return fmt.Errorf("the driver ended more than %d times; it wrote:\n%s", limit, p.driver.log.String())
		}
		err := p.start(ctx)
		var reported *failure
		if errors.As(err, &reported) {
			// On a busy machine, a worker may not be connected in time.
			fmt.Printf("  participant %s is started again: %v\n", p.sdk, err)
			p.driver.kill()
			continue
		}
		if err != nil && !errors.Is(err, errDriverEnded) {
			return err
		}
		killed := false
		select {
		case <-p.driver.exited:
		case <-p.kill:
			if killed = p.pause(ctx); killed {
				p.driver.kill()
			} else {
				p.postpone()
			}
		case <-sagasEnded:
			return nil
		case <-ctx.Done():
			return nil
		}
		switch {
		case ctx.Err() != nil:
			return nil
		case killed:
			p.atRandom++
		case endedBySIGKILL(p.driver):
			p.afterCommit++
		default:
			return fmt.Errorf("the driver ended with %v; it wrote:\n%s", p.driver.process.ProcessState, p.driver.log.String())
		}
	}
}

// postpone keeps a kill for the next start of the driver.
func (p *participant) postpone() {
	select {
	case p.kill <- struct{}{}:
	default:
	}
}

// pause waits for a random time. It returns false if the driver or the run ended meanwhile.
func (p *participant) pause(ctx context.Context) bool {
	select {
	case <-time.After(rand.N(killDelay)):
		return true
	case <-p.driver.exited:
		return false
	case <-ctx.Done():
		return false
	}
}

// endedBySIGKILL tells whether a driver was ended by SIGKILL. If the run did not send it, the driver did so itself.
func endedBySIGKILL(d *driver) bool {
	status, ok := d.process.ProcessState.Sys().(syscall.WaitStatus)
	return ok && status.Signaled() && status.Signal() == syscall.SIGKILL
}

// start starts the driver and serves the actions.
func (p *participant) start(ctx context.Context) error {
	command := []string{p.run.settings.drivers[p.sdk]}
	started, err := startDriver(command, newEvents(), p.run.settings.verbose)
	if err != nil {
		return err
	}
	p.driver = started
	request := map[string]any{
		"op": "serve", "gateway": p.run.server.url(), "namespace": killRunNamespace, "service": p.sdk, "quiet": true,
		"capacity": p.run.settings.inFlight, "limits": nil, "actions": killRunActions, "broken": p.run.settings.broken,
		"database": filepath.Join(p.run.folder, p.sdk+".db"),
	}
	if _, err := started.call(request, serveTimeout); err != nil && ctx.Err() == nil {
		return err
	}
	return nil
}

// effects returns the rows of the table of the participant, in order.
func (p *participant) effects() ([]effect, error) {
	result, err := p.driver.call(map[string]any{"op": "effects"}, time.Minute)
	if err != nil {
		return nil, err
	}
	list, _ := result["effects"].([]any)
	rows := make([]effect, 0, len(list))
	for _, each := range list {
		fields, _ := each.(map[string]any)
		rows = append(rows, effect{step: fmt.Sprint(fields["step"]), operation: fmt.Sprint(fields["operation"])})
	}
	return rows, nil
}

func (p *participant) end() {
	if p.driver != nil {
		p.driver.kill()
	}
}
