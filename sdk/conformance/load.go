package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// loadTimeout limits the duration of one saga.
const loadTimeout = time.Minute

// loadSagas runs order sagas, a number of them at a time. It returns the number of sagas per second in a window of time that
// begins after a warm-up. The end of every saga is checked.
func loadSagas(server *server, inFlight int, warmUp, window time.Duration) (float64, error) {
	client := &http.Client{
		Timeout: loadTimeout + callTimeout,
		// One connection for each saga in flight.
		Transport: &http.Transport{MaxIdleConnsPerHost: inFlight, MaxConnsPerHost: inFlight, DisableCompression: true},
	}
	defer client.CloseIdleConnections()
	var ended atomic.Int64
	var stopped atomic.Bool
	failures := make(chan error, inFlight)
	var lanes sync.WaitGroup
	for range inFlight {
		lanes.Go(func() {
			for !stopped.Load() {
				if err := orderSaga(client, server); err != nil {
					failures <- err
					return
				}
				ended.Add(1)
			}
		})
	}
	end := func(err error) error {
		stopped.Store(true)
		lanes.Wait()
		return err
	}
	if err := waitOr(failures, warmUp); err != nil {
		return 0, end(err)
	}
	before, began := ended.Load(), time.Now()
	if err := waitOr(failures, window); err != nil {
		return 0, end(err)
	}
	rate := float64(ended.Load()-before) / time.Since(began).Seconds()
	return rate, end(nil)
}

// waitOr waits for a time. It returns a failure that occurs meanwhile.
func waitOr(failures <-chan error, duration time.Duration) error {
	select {
	case err := <-failures:
		return err
	case <-time.After(duration):
		return nil
	}
}

// orderSaga starts an order saga and waits for its end.
func orderSaga(client *http.Client, server *server) error {
	body := strings.NewReader(`{"definition":"order","input":{"order":"o-1","amount":100}}`)
	request, err := http.NewRequest(http.MethodPost, server.url()+"/api/v1/workflows?wait=60s", body)
	if err != nil {
		return err
	}
	request.Header.Set("GoConductor-Namespace", throughputNamespace)
	request.Header.Set("Content-Type", "application/json")
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	var workflow struct {
		Status string `json:"status"`
	}
	if err := json.Unmarshal(text, &workflow); err != nil || workflow.Status != statusCompleted {
		return fmt.Errorf("a saga did not end as %s: status %d: %.300s", statusCompleted, response.StatusCode, text)
	}
	return nil
}
