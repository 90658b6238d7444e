package main

import (
	"fmt"
	"slices"
)

// check compares calls, keys and effects with what the scenario expects.
func (r *session) check() error {
	var calls []map[string]any
	all, _ := r.events.snapshot()
	for _, event := range all {
		if event["event"] == "call" {
			calls = append(calls, event)
		}
	}
	expect := r.scenario.Expect
	if expect.Calls != nil {
		if err := compare("calls", expect.Calls, calls, expect.AnyOrder); err != nil {
			return err
		}
	}
	if expect.SameKeys {
		if err := sameKeys(calls); err != nil {
			return err
		}
	}
	if expect.Effects == nil && !expect.NoEffects {
		return nil
	}
	result, err := r.driver.call(map[string]any{"op": "effects"}, defaultWithin)
	if err != nil {
		return err
	}
	list, _ := result["effects"].([]any)
	var effects []map[string]any
	for _, each := range list {
		effect, _ := each.(map[string]any)
		effects = append(effects, effect)
	}
	return compare("effects", expect.Effects, effects, false)
}

func compare(what string, expected, actual []map[string]any, anyOrder bool) error {
	wrong := fmt.Errorf("expected the %s %s, got %s", what, show(expected), show(actual))
	if len(expected) != len(actual) {
		return wrong
	}
	rest := slices.Clone(actual)
	for index, each := range expected {
		if !anyOrder {
			if !matches(each, actual[index]) {
				return wrong
			}
			continue
		}
		found := slices.IndexFunc(rest, func(candidate map[string]any) bool { return matches(each, candidate) })
		if found < 0 {
			return wrong
		}
		rest = slices.Delete(rest, found, found+1)
	}
	return nil
}

func sameKeys(calls []map[string]any) error {
	keys := map[string]any{}
	for _, call := range calls {
		side := fmt.Sprint(call["workflow_id"], call["step"], call["operation"])
		if known, ok := keys[side]; ok && known != call["key"] {
			return fmt.Errorf("%v of %v was called with the keys %v and %v", call["operation"], call["step"], known, call["key"])
		}
		keys[side] = call["key"]
	}
	return nil
}
