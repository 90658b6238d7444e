package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	// killRunNamespace is the namespace of the sagas of a kill run.
	killRunNamespace = "kill-run"
	// killDelay is the longest time between the moment that a kill is due and the kill.
	killDelay = 200 * time.Millisecond
	// retryPause is the pause between calls to the server that failed.
	retryPause = 200 * time.Millisecond
)

// killRunSettings are the flags of kill-run.
type killRunSettings struct {
	server   string
	broken   string
	verbose  bool
	drivers  drivers
	sagas    int
	inFlight int
	kills    int
	refused  float64
	seed     uint64
	within   time.Duration
}

// killRun is a run of sagas over participants that are killed.
type killRun struct {
	settings     killRunSettings
	folder       string
	server       *server
	plan         []plannedSaga
	participants []*participant

	mutex sync.Mutex
	// ended is the number of sagas that have ended.
	ended int
	// ids and statuses are those of the sagas, by number. They are empty before the start and before the end.
	ids, statuses []string
}

// killRunMain parses the flags of kill-run and runs it. It returns whether the run found a fault.
func killRunMain(arguments []string) (bool, error) {
	s := killRunSettings{drivers: drivers{}}
	flags := flag.NewFlagSet("kill-run", flag.ExitOnError)
	flags.StringVar(&s.server, "server", os.Getenv("GOCONDUCTOR_BINARY"), "path of the program goconductor")
	flags.Var(s.drivers, "driver", "name of an SDK and path of its driver, as in go=/tmp/driver-go; one for each participant")
	flags.IntVar(&s.sagas, "sagas", 500, "number of sagas")
	flags.IntVar(&s.inFlight, "in-flight", 16, "number of concurrent sagas")
	flags.IntVar(&s.kills, "kills", 4, "kills of each driver after the commit of an execute, after that of a "+
		"compensation, and at random times")
	flags.Float64Var(&s.refused, "refused", 0.3, "share of the sagas whose last step is refused")
	flags.Uint64Var(&s.seed, "seed", rand.Uint64(), "seed of the plan (default: random)")
	flags.DurationVar(&s.within, "within", 20*time.Minute, "longest duration of the run")
	flags.StringVar(&s.broken, "broken", "", "run broken drivers, and expect the run to find faults")
	flags.BoolVar(&s.verbose, "verbose", false, "print the messages of the drivers")
	_ = flags.Parse(arguments)
	switch {
	case s.server == "":
		return false, errors.New("set -server or GOCONDUCTOR_BINARY to the path of the program goconductor")
	case len(s.drivers) < 2:
		return false, errors.New("give at least two drivers with -driver")
	case s.inFlight < 1 || s.kills < 1:
		return false, errors.New("-in-flight and -kills must be at least 1")
	}
	folder, err := os.MkdirTemp("", "goconductor-kill-run-")
	if err != nil {
		return false, err
	}
	defer func() { _ = os.RemoveAll(folder) }()
	run := &killRun{settings: s, folder: folder, ids: make([]string, s.sagas), statuses: make([]string, s.sagas)}
	run.plan, err = planSagas(s.seed, s.drivers.names(), s.sagas, s.kills, s.refused)
	if err != nil {
		return false, err
	}
	return run.all()
}

func (r *killRun) all() (bool, error) {
	began := time.Now()
	fmt.Printf("%d sagas over %s, %d in flight, seed %d\n",
		len(r.plan), strings.Join(r.settings.drivers.names(), ", "), r.settings.inFlight, r.settings.seed)
	r.server = newServer(r.settings.server, filepath.Join(r.folder, "data"))
	if err := r.server.start(); err != nil {
		return false, err
	}
	defer r.server.stop()
	effects, err := r.runSagas()
	if err != nil {
		return false, err
	}
	faults := auditEffects(r.plan, r.statuses, effects)
	for _, each := range r.participants {
		if each.afterCommit == 0 || each.atRandom == 0 {
			faults = append(faults, fmt.Sprintf("%s was killed %d times after a commit and %d times at random; run more sagas",
				each.sdk, each.afterCommit, each.atRandom))
		}
	}
	r.report(effects, time.Since(began))
	return r.judge(faults), nil
}

// judge prints the faults. It returns whether the run failed. A run with broken drivers fails if it finds no fault.
func (r *killRun) judge(faults []string) bool {
	for _, fault := range faults[:min(len(faults), shownEvents)] {
		fmt.Println("fault:", fault)
	}
	if r.settings.broken != "" {
		fmt.Printf("%d faults, expected of drivers with %s\n", len(faults), r.settings.broken)
		return len(faults) == 0
	}
	fmt.Printf("%d faults\n", len(faults))
	return len(faults) > 0
}

func (r *killRun) report(effects map[string][]effect, took time.Duration) {
	completed := 0
	for _, status := range r.statuses {
		if status == statusCompleted {
			completed++
		}
	}
	fmt.Printf("%d sagas COMPLETED and %d not, in %v\n", completed, len(r.plan)-completed, took.Round(time.Second))
	fmt.Printf("%-12s %20s %17s %10s %10s\n", "participant", "killed after commit", "killed at random", "effects", "undone")
	for _, each := range r.participants {
		undone := 0
		for _, row := range effects[each.sdk] {
			if row.operation == operationCompensate {
				undone++
			}
		}
		fmt.Printf("%-12s %20d %17d %10d %10d\n",
			each.sdk, each.afterCommit, each.atRandom, len(effects[each.sdk])-undone, undone)
	}
}

// runSagas runs the sagas while the participants are killed. It returns the effects in the tables of the participants.
func (r *killRun) runSagas() (map[string][]effect, error) {
	ctx, stop := context.WithTimeoutCause(context.Background(), r.settings.within,
		fmt.Errorf("the sagas have not ended within %v", r.settings.within))
	defer stop()
	ctx, fail := context.WithCancelCause(ctx)
	sagasEnded := make(chan struct{})
	var supervised sync.WaitGroup
	for _, sdk := range r.settings.drivers.names() {
		each := newParticipant(r, sdk)
		r.participants = append(r.participants, each)
		supervised.Go(func() {
			if err := each.supervise(ctx, sagasEnded); err != nil {
				fail(fmt.Errorf("participant %s: %w", sdk, err))
			}
		})
	}
	defer func() {
		fail(nil)
		supervised.Wait()
		for _, each := range r.participants {
			each.end()
		}
	}()
	if err := r.startSagas(ctx, fail); err != nil {
		r.showWaiting()
		return nil, err
	}
	close(sagasEnded)
	supervised.Wait()
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	effects := map[string][]effect{}
	for _, each := range r.participants {
		rows, err := each.effects()
		if err != nil {
			return nil, fmt.Errorf("participant %s: %w", each.sdk, err)
		}
		effects[each.sdk] = rows
	}
	return effects, nil
}

// startSagas runs all sagas, and returns when they have ended.
func (r *killRun) startSagas(ctx context.Context, fail func(error)) error {
	due := make(chan int)
	var lanes sync.WaitGroup
	for range r.settings.inFlight {
		lanes.Go(func() {
			for index := range due {
				if err := r.runSaga(ctx, index); err != nil {
					fail(fmt.Errorf("saga %s: %w", r.plan[index].name(), err))
				}
			}
		})
	}
	for index := range r.plan {
		select {
		case due <- index:
		case <-ctx.Done():
		}
	}
	close(due)
	lanes.Wait()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return nil
}

// runSaga applies the definition of a saga, starts it and waits for its end.
func (r *killRun) runSaga(ctx context.Context, index int) error {
	planned := r.plan[index]
	if _, err := r.call(ctx, http.MethodPut, "/definitions/"+planned.name(), planned.definition()); err != nil {
		return err
	}
	// A start that is repeated starts no second saga.
	start := map[string]any{"definition": planned.name(), "idempotency_key": planned.name()}
	started, err := r.call(ctx, http.MethodPost, "/workflows", start)
	if err != nil {
		return err
	}
	id := fmt.Sprint(started["id"])
	r.mutex.Lock()
	r.ids[index] = id
	r.mutex.Unlock()
	path := fmt.Sprintf("/workflows/%s/result?wait=10s", id)
	for {
		result, err := r.call(ctx, http.MethodGet, path, nil)
		if err != nil {
			return err
		}
		if status, _ := result["status"].(string); slices.Contains(endStatuses, status) {
			r.sagaEnded(index, status)
			return nil
		}
	}
}

// showWaiting prints what the sagas that have not ended wait for.
func (r *killRun) showWaiting() {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	shown := 0
	for index, id := range r.ids {
		if id == "" || r.statuses[index] != "" || shown == shownEvents {
			continue
		}
		shown++
		_, workflow, err := r.server.call(http.MethodGet, "/workflows/"+id, killRunNamespace, nil)
		if err != nil {
			fmt.Printf("waiting: %s: %v\n", r.plan[index].name(), err)
			continue
		}
		fmt.Printf("waiting: %s %s: %s\n", r.plan[index].name(), workflow["status"], show(workflow["waiting_on"]))
	}
}

// call calls the server until it responds with success. A response that refuses the request is an error.
func (r *killRun) call(ctx context.Context, method, path string, body any) (map[string]any, error) {
	for {
		status, response, err := r.server.call(method, path, killRunNamespace, body)
		switch {
		case ctx.Err() != nil:
			return nil, context.Cause(ctx)
		case err == nil && status < 300:
			return response, nil
		case err == nil && status < 500 && status != http.StatusTooManyRequests:
			return nil, fmt.Errorf("%s %s: status %d: %s", method, path, status, show(response))
		}
		time.Sleep(retryPause)
	}
}

// sagaEnded records the end of a saga, and kills the participants that are due.
func (r *killRun) sagaEnded(index int, status string) {
	r.mutex.Lock()
	r.statuses[index] = status
	r.ended++
	ended := r.ended
	r.mutex.Unlock()
	for position, each := range r.participants {
		if killDue(ended, len(r.plan), r.settings.kills, position, len(r.participants)) {
			each.kill <- struct{}{}
		}
	}
	if step := max(1, len(r.plan)/10); ended%step == 0 {
		fmt.Printf("  %d of %d sagas have ended\n", ended, len(r.plan))
	}
}

// killDue tells whether a participant is killed when a number of sagas has ended. The kills of all participants are spread
// over the run.
func killDue(ended, sagas, kills, position, participants int) bool {
	for kill := range kills {
		// The last kill is before the last sagas, so that they show its consequences.
		if ended == 1+(kill*participants+position)*(sagas-1)/(kills*participants+1) {
			return true
		}
	}
	return false
}

// drivers are the paths of drivers by SDK. A flag adds one.
type drivers map[string]string

func (d drivers) String() string { return "" }

// Set adds the driver of a flag.
func (d drivers) Set(text string) error {
	sdk, path, found := strings.Cut(text, "=")
	if !found || sdk == "" || path == "" {
		return errors.New("expected SDK=PATH")
	}
	d[sdk] = path
	return nil
}

func (d drivers) names() []string { return slices.Sorted(maps.Keys(d)) }
