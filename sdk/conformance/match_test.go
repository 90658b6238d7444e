package main

import (
	"encoding/json"
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
)

func TestOnlyExpectedFieldsAreCompared(t *testing.T) {
	t.Parallel()
	var actual any = map[string]any{
		"n": json.Number("9223372036854775807"), "text": "a", "list": []any{1, 2}, "null": nil, "object": map[string]any{"x": 1},
	}
	for _, each := range []struct {
		expected any
		matches  bool
	}{
		{map[string]any{}, true},
		{map[string]any{"n": int64(9223372036854775807), "text": "a"}, true},
		{map[string]any{"n": int64(9223372036854775806)}, false},
		{map[string]any{"missing": nil, "null": nil}, true},
		{map[string]any{"object": map[string]any{"x": 1}}, true},
		{map[string]any{"object": map[string]any{"y": 1}}, false},
		{map[string]any{"list": []any{1, 2}}, true},
		{map[string]any{"list": []any{1}}, false},
		{map[string]any{"text": map[string]any{"$any": true}}, true},
		{map[string]any{"null": map[string]any{"$any": true}}, false},
		{map[string]any{"n": map[string]any{"$min": 1}}, true},
		{map[string]any{"n": map[string]any{"$min": 1, "$max": 5}}, false},
		{map[string]any{"text": map[string]any{"$min": 1}}, false},
		{map[string]any{"object": map[string]any{"$json": `{"x": 1}`}}, true},
		{map[string]any{"object": map[string]any{"$json": `{}`}}, false},
		{"a", false},
	} {
		if matches(each.expected, actual) != each.matches {
			t.Errorf("%v: expected %v", each.expected, each.matches)
		}
	}
}

func TestCallsAreComparedInOrderUnlessAnyOrderIsExpected(t *testing.T) {
	t.Parallel()
	a, b := map[string]any{"action": "a"}, map[string]any{"action": "b"}
	list := func(calls ...map[string]any) []map[string]any { return calls }
	if err := compare("calls", list(a, b), list(a, b), false); err != nil {
		t.Error(err)
	}
	for _, actual := range [][]map[string]any{list(b, a), list(a), list(a, b, b), nil} {
		if compare("calls", list(a, b), actual, false) == nil {
			t.Errorf("%v was accepted", actual)
		}
	}
	if err := compare("calls", list(a, b), list(b, a), true); err != nil {
		t.Error(err)
	}
	if compare("calls", list(a, b), list(a, a), true) == nil {
		t.Error("another call was accepted")
	}
}

func TestEachBrokenDriverFailsAScenario(t *testing.T) {
	t.Parallel()
	scenarios, err := load("scenarios")
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for _, each := range scenarios {
		if names[each.Name] {
			t.Errorf("two scenarios have the name %s", each.Name)
		}
		names[each.Name] = true
	}
	for _, broken := range []string{"no-heartbeat", "new-key-on-retry", "inbox-without-tombstone"} {
		if !slices.ContainsFunc(scenarios, func(each *scenario) bool { return slices.Contains(each.Broken, broken) }) {
			t.Errorf("no scenario names %s", broken)
		}
	}
}

func TestRelayConvertsMessagesToOtherVersions(t *testing.T) {
	t.Parallel()
	welcome := protowire.AppendVarint(protowire.AppendTag(nil, fieldMaxOutputBytes, protowire.VarintType), 7)
	name := protowire.AppendString(protowire.AppendTag(nil, 1, protowire.BytesType), "executor")
	message := protowire.AppendTag(nil, fieldWelcome, protowire.BytesType)
	message = protowire.AppendBytes(message, append(slices.Clone(name), welcome...))
	older := (&relay{mode: relayOlder}).convert(message)
	expected := protowire.AppendBytes(protowire.AppendTag(nil, fieldWelcome, protowire.BytesType), name)
	if len(older) != 1 || !slices.Equal(older[0], expected) {
		t.Errorf("the older message is %x, not %x", older, expected)
	}
	acknowledges := protowire.AppendVarint(protowire.AppendTag(nil, fieldAcknowledgesDrain, protowire.VarintType), 1)
	current := protowire.AppendTag(nil, fieldWelcome, protowire.BytesType)
	current = protowire.AppendBytes(current, slices.Concat(name, welcome, acknowledges))
	if older := (&relay{mode: relayOlder}).convert(current); len(older) != 1 || !slices.Equal(older[0], expected) {
		t.Errorf("the older message is %x, not %x", older, expected)
	}
	ack := protowire.AppendBytes(protowire.AppendTag(nil, fieldDrainAck, protowire.BytesType), nil)
	if older := (&relay{mode: relayOlder}).convert(ack); len(older) != 0 {
		t.Errorf("the older messages are %x", older)
	}
	if newer := (&relay{mode: relayNewer}).convert(message); len(newer) != 2 || len(newer[0]) <= len(message) {
		t.Errorf("the newer messages are %x", newer)
	}
	if plain := (&relay{mode: relayPlain}).convert(message); len(plain) != 1 || !slices.Equal(plain[0], message) {
		t.Errorf("the message is %x", plain)
	}
}

func TestRelayHoldsTasksBackAndForwardsThem(t *testing.T) {
	t.Parallel()
	r := &relay{held: make(chan struct{}, 1)}
	task := protowire.AppendBytes(protowire.AppendTag(nil, fieldTask, protowire.BytesType), nil)
	heartbeat := protowire.AppendBytes(protowire.AppendTag(nil, fieldHeartbeat, protowire.BytesType), nil)
	r.delay(t.Context(), task)
	r.holdTasks()
	r.delay(t.Context(), heartbeat)
	if err := r.awaitHeldTask(10 * time.Millisecond); err == nil {
		t.Error("a task is held back that does not exist")
	}
	forwarded := make(chan struct{})
	go func() {
		r.delay(t.Context(), task)
		close(forwarded)
	}()
	if err := r.awaitHeldTask(10 * time.Second); err != nil {
		t.Fatal(err)
	}
	select {
	case <-forwarded:
		t.Error("the task is not held back")
	case <-time.After(50 * time.Millisecond):
	}
	r.forwardTasks()
	select {
	case <-forwarded:
	case <-time.After(10 * time.Second):
		t.Error("the task is not forwarded")
	}
}
