package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	// reference is the SDK to which the others are compared.
	reference = "rust"
	// throughputNamespace is the namespace of the sagas of a measurement.
	throughputNamespace = "throughput"
	// noisyLog is the size of the log of a driver, in bytes, above which the log takes part in the figure.
	noisyLog = 256 << 10
)

// orderDefinition is the order saga, with the steps of `goconductor bench` and one service.
const orderDefinition = `workflow: order
steps:
  - { name: reserve, run: shop/reserve, compensate: shop/release }
  - { name: charge, run: shop/charge, compensate: shop/refund }
  - { name: ship, run: shop/ship, compensate: shop/cancel }
`

// orderActions are the actions of the order saga. They only return an output.
var orderActions = map[string][]script{
	"reserve": {{{"done": map[string]any{"reservation": "r-1"}}}}, "release": {{{"done": nil}}},
	"charge": {{{"done": map[string]any{"payment": "p-1"}}}}, "refund": {{{"done": nil}}},
	"ship": {{{"done": map[string]any{"shipment": "s-1"}}}}, "cancel": {{{"done": nil}}},
}

// throughputSettings are the flags of throughput.
type throughputSettings struct {
	server   string
	drivers  drivers
	atLeast  ratios
	rounds   int
	inFlight int
	warmUp   time.Duration
	window   time.Duration
	verbose  bool
}

// throughputMain parses the flags of throughput and measures. It returns whether a ratio is too low.
func throughputMain(arguments []string) (bool, error) {
	s := throughputSettings{
		drivers: drivers{}, atLeast: ratios{"go": 0.8, "java": 0.8, "typescript": 0.5, "python": 0.3},
	}
	flags := flag.NewFlagSet("throughput", flag.ExitOnError)
	flags.StringVar(&s.server, "server", os.Getenv("GOCONDUCTOR_BINARY"), "path of the program goconductor")
	flags.Var(s.drivers, "driver", "name of an SDK and path of its driver, as in go=/tmp/driver-go; one for each SDK")
	flags.Var(s.atLeast, "at-least", "lowest ratio of an SDK to Rust, as in go=0.8 (default: go and java 0.8, typescript 0.5, "+
		"python 0.3)")
	flags.IntVar(&s.rounds, "rounds", 3, "number of rounds; each measures every SDK once")
	flags.IntVar(&s.inFlight, "in-flight", 64, "number of concurrent sagas")
	flags.DurationVar(&s.warmUp, "warm-up", 10*time.Second, "time before each measurement in which the worker is used already")
	flags.DurationVar(&s.window, "window", 15*time.Second, "duration of each measurement")
	flags.BoolVar(&s.verbose, "verbose", false, "print the messages of the drivers")
	_ = flags.Parse(arguments)
	switch {
	case s.server == "":
		return false, errors.New("set -server or GOCONDUCTOR_BINARY to the path of the program goconductor")
	case len(s.drivers) == 0:
		return false, errors.New("give the drivers with -driver")
	case s.rounds < 1 || s.inFlight < 1 || s.window <= 0:
		return false, errors.New("-rounds, -in-flight and -window must be at least 1")
	}
	return s.measureAll()
}

func (s throughputSettings) measureAll() (bool, error) {
	sdks := s.drivers.names()
	results := map[string][]float64{}
	for round := range s.rounds {
		// The order alternates, so that no SDK is always measured first.
		slices.Reverse(sdks)
		for _, sdk := range sdks {
			rate, note, err := s.measure(sdk)
			if err != nil {
				return false, fmt.Errorf("%s: %w", sdk, err)
			}
			results[sdk] = append(results[sdk], rate)
			fmt.Printf("round %d of %d: %-10s %8.0f sagas/s%s\n", round+1, s.rounds, sdk, rate, note)
		}
	}
	return s.report(results), nil
}

// measure returns the rate of sagas with one worker of an SDK, and a note about what distorts it.
func (s throughputSettings) measure(sdk string) (float64, string, error) {
	folder, err := os.MkdirTemp("", "goconductor-throughput-")
	if err != nil {
		return 0, "", err
	}
	defer func() { _ = os.RemoveAll(folder) }()
	server := newServer(s.server, filepath.Join(folder, "data"))
	if err := server.start(); err != nil {
		return 0, "", err
	}
	defer server.stop()
	status, problem, err := server.call("PUT", "/definitions/order", throughputNamespace, orderDefinition)
	if err != nil || status >= 300 {
		return 0, "", fmt.Errorf("the definition was not applied: %d %s %w", status, show(problem), errOr(err))
	}
	reported := newEvents()
	worker, err := startDriver([]string{s.drivers[sdk]}, reported, s.verbose)
	if err != nil {
		return 0, "", err
	}
	defer worker.kill()
	request := map[string]any{
		"op": "serve", "gateway": server.url(), "namespace": throughputNamespace, "service": serviceName, "quiet": true,
		"capacity": s.inFlight, "actions": orderActions, "database": filepath.Join(folder, "participant.db"),
	}
	if _, err := worker.call(request, serveTimeout); err != nil {
		return 0, "", err
	}
	rate, err := loadSagas(server, s.inFlight, s.warmUp, s.window)
	if err != nil {
		return 0, "", err
	}
	return rate, distortion(reported, worker), nil
}

// distortion returns a note if the driver did more than its actions, or an empty text.
func distortion(reported *events, worker *driver) string {
	all, _ := reported.snapshot()
	switch {
	case len(all) > 0:
		return fmt.Sprintf("  (too low: the driver does not know `quiet` and reported %d events)", len(all))
	case worker.log.size() > noisyLog:
		return fmt.Sprintf("  (too low: the driver logged %d kB)", worker.log.size()>>10)
	default:
		return ""
	}
}

// report prints the median of each SDK and its ratio to the reference. It returns whether a ratio is too low.
func (s throughputSettings) report(results map[string][]float64) bool {
	failed := false
	base := median(results[reference])
	fmt.Printf("\n| worker | sagas/s, lowest and highest | median | ratio to %s | required |\n", reference)
	fmt.Println("| --- | --- | --- | --- | --- |")
	for _, sdk := range s.drivers.names() {
		rates := results[sdk]
		ratio, required, verdict := "", "", ""
		if base > 0 {
			ratio = fmt.Sprintf("%.2f", median(rates)/base)
		}
		if lowest, ok := s.atLeast[sdk]; ok {
			required = fmt.Sprintf("%.2g", lowest)
			if base > 0 && median(rates) < lowest*base {
				failed, verdict = true, ", MISSED"
			}
		}
		fmt.Printf("| %s | %.0f to %.0f | %.0f | %s | %s%s |\n",
			sdk, slices.Min(rates), slices.Max(rates), median(rates), ratio, required, verdict)
	}
	return failed
}

// median returns the median of values, the lower one of an even number of them, or 0 without a value.
func median(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	return sorted[(len(sorted)-1)/2]
}

// ratios are ratios by SDK. A flag sets one.
type ratios map[string]float64

func (r ratios) String() string { return "" }

// Set sets the ratio of a flag.
func (r ratios) Set(text string) error {
	sdk, number, _ := strings.Cut(text, "=")
	ratio, err := strconv.ParseFloat(number, 64)
	if err != nil {
		return fmt.Errorf("expected SDK=RATIO: %w", err)
	}
	r[sdk] = ratio
	return nil
}
