// Command conformance runs the conformance suite of the SDKs: scenarios against the real server, with a driver process of
// an SDK. README.md documents the protocol of drivers and the form of scenarios.
//
//	conformance [flags] -- COMMAND [ARGUMENT]...
//	conformance kill-run [flags] -driver SDK=PATH...
//	conformance throughput [flags] -driver SDK=PATH...
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"time"
)

type settings struct {
	server  string
	folder  string
	filter  string
	broken  string
	verbose bool
	list    bool
	command []string
}

func main() {
	failed, err := command(os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(2)
	}
	if failed {
		os.Exit(1)
	}
}

// command runs the suite or another mode. It returns whether something did not end as expected.
func command(arguments []string) (bool, error) {
	if len(arguments) > 0 {
		switch arguments[0] {
		case "kill-run":
			return killRunMain(arguments[1:])
		case "throughput":
			return throughputMain(arguments[1:])
		}
	}
	return run(suiteSettings())
}

// suiteSettings parses the flags of the suite.
func suiteSettings() settings {
	var s settings
	flag.StringVar(&s.server, "server", os.Getenv("GOCONDUCTOR_BINARY"), "path of the program goconductor")
	flag.StringVar(&s.folder, "scenarios", "scenarios", "folder of the scenarios")
	flag.StringVar(&s.filter, "scenario", "", "regular expression of the names of scenarios to run (default: all)")
	flag.StringVar(&s.broken, "broken", "", "run a broken driver, and expect the scenarios that name it to fail")
	flag.BoolVar(&s.verbose, "verbose", false, "print the messages of the driver")
	flag.BoolVar(&s.list, "list", false, "list the scenarios")
	flag.Parse()
	s.command = flag.Args()
	return s
}

// run runs the suite. It returns whether a scenario did not end as expected.
func run(s settings) (bool, error) {
	scenarios, err := load(s.folder)
	if err != nil {
		return false, err
	}
	selected, err := regexp.Compile(s.filter)
	if err != nil {
		return false, fmt.Errorf("invalid -scenario: %w", err)
	}
	scenarios = slices.DeleteFunc(scenarios, func(each *scenario) bool {
		return !selected.MatchString(each.Name) || s.broken != "" && !slices.Contains(each.Broken, s.broken)
	})
	if s.list {
		for _, each := range scenarios {
			fmt.Printf("%-50s %s\n", each.Name, each.About)
		}
		return false, nil
	}
	switch {
	case len(scenarios) == 0:
		return false, fmt.Errorf("no scenario matches")
	case s.server == "":
		return false, fmt.Errorf("set -server or GOCONDUCTOR_BINARY to the path of the program goconductor")
	case len(s.command) == 0:
		return false, fmt.Errorf("give the command of a driver after --")
	}
	return runAll(s, scenarios)
}

func runAll(s settings, scenarios []*scenario) (bool, error) {
	folder, err := os.MkdirTemp("", "goconductor-conformance-")
	if err != nil {
		return false, err
	}
	defer func() { _ = os.RemoveAll(folder) }()
	shared := newServer(s.server, "")
	if err := shared.start(); err != nil {
		return false, err
	}
	defer shared.stop()
	passed, failed, skipped, pending := 0, 0, 0, 0
	for index, each := range scenarios {
		began := time.Now()
		err := runScenario(s, each, shared, filepath.Join(folder, fmt.Sprint(index)))
		took := time.Since(began).Round(10 * time.Millisecond)
		expected := s.broken != ""
		switch {
		case err == errSkipped:
			skipped++
			fmt.Printf("skipped %s: the driver does not have %q\n", each.Name, each.Requires)
		case err != nil && each.Pending != "":
			pending++
			fmt.Printf("pending %s (%v): %s\n", each.Name, took, each.Pending)
		case each.Pending != "":
			failed++
			fmt.Printf("FAILED  %s passed: remove its key `pending` (%v)\n", each.Name, took)
		case err != nil && expected:
			passed++
			fmt.Printf("ok      %s failed, as expected of the broken driver (%v): %v\n", each.Name, took, firstLine(err))
		case err != nil:
			failed++
			fmt.Printf("FAILED  %s (%v): %v\n", each.Name, took, err)
		case expected:
			failed++
			fmt.Printf("FAILED  %s passed, although the driver is broken: %s (%v)\n", each.Name, s.broken, took)
		default:
			passed++
			fmt.Printf("ok      %s (%v)\n", each.Name, took)
		}
	}
	if pending > 0 {
		fmt.Printf("%d pending\n", pending)
	}
	fmt.Printf("%d passed, %d failed, %d skipped\n", passed, failed, skipped)
	return failed > 0, nil
}
