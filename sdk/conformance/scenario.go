package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

var errSkipped = errors.New("skipped")

// scenario is a scenario. README.md documents its form.
type scenario struct {
	Name  string `yaml:"name"`
	About string `yaml:"about"`
	// Server is "own" if the scenario kills the server.
	Server string `yaml:"server"`
	// Broken are the broken drivers that must fail the scenario.
	Broken []string `yaml:"broken"`
	// Requires are capabilities that a driver may lack.
	Requires []string `yaml:"requires"`
	// Pending says why the server does not pass the scenario yet. The scenario must then fail.
	Pending    string              `yaml:"pending"`
	Definition string              `yaml:"definition"`
	Capacity   int                 `yaml:"capacity"`
	Limits     map[string]int      `yaml:"limits"`
	Relay      string              `yaml:"relay"`
	Actions    map[string][]script `yaml:"actions"`
	Run        []map[string]any    `yaml:"run"`
	Expect     expectation         `yaml:"expect"`
}

// script is what an action does in one attempt. The last script applies to all further attempts.
type script []map[string]any

type expectation struct {
	// Calls are the calls of actions, in order. Each has the fields that matter.
	Calls []map[string]any `yaml:"calls"`
	// AnyOrder ignores the order of the calls.
	AnyOrder bool `yaml:"any_order"`
	// SameKeys requires one idempotency key for all attempts of a side of a step.
	SameKeys bool `yaml:"same_keys"`
	// Effects are the effects in the database of the driver. nil means that they do not matter.
	Effects []map[string]any `yaml:"effects"`
	// NoEffects requires that there is no effect.
	NoEffects bool `yaml:"no_effects"`
}

// load reads the scenarios of a folder, ordered by name of the file.
func load(folder string) ([]*scenario, error) {
	files, err := filepath.Glob(filepath.Join(folder, "*.yaml"))
	if err != nil {
		return nil, err
	}
	slices.Sort(files)
	var scenarios []*scenario
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		decoder := yaml.NewDecoder(bytes.NewReader(text))
		decoder.KnownFields(true)
		for {
			each := &scenario{}
			err := decoder.Decode(each)
			if err != nil && err.Error() == "EOF" {
				break
			}
			if err != nil {
				return nil, fmt.Errorf("%s: %w", file, err)
			}
			if each.Name == "" || len(each.Run) == 0 {
				return nil, fmt.Errorf("%s: a scenario needs a name and steps to run", file)
			}
			scenarios = append(scenarios, each)
		}
	}
	return scenarios, nil
}

func firstLine(err error) string {
	line, _, _ := strings.Cut(err.Error(), "\n")
	return line
}
