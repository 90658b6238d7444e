package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
)

// normal converts a value to the types of JSON, with numbers as text.
func normal(value any) any {
	text, err := json.Marshal(value)
	if err != nil {
		return fmt.Sprintf("not JSON: %v", err)
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	var converted any
	if err := decoder.Decode(&converted); err != nil {
		return fmt.Sprintf("not JSON: %v", err)
	}
	return converted
}

// matches reports whether a value contains the expected parts. Only the fields of expected objects are compared. {"$any": true}
// matches every value but null, {"$min": n} and {"$max": n} match numbers, and {"$json": text} the value of the text.
func matches(expected, actual any) bool {
	expected, actual = normal(expected), normal(actual)
	fields, isObject := expected.(map[string]any)
	if !isObject {
		return reflect.DeepEqual(expected, actual)
	}
	if fields["$any"] == true {
		return actual != nil
	}
	if text, ok := fields["$json"].(string); ok {
		return reflect.DeepEqual(normal(json.RawMessage(text)), actual)
	}
	if within, ok := inBounds(fields, actual); ok {
		return within
	}
	object, ok := actual.(map[string]any)
	if !ok {
		return false
	}
	for name, each := range fields {
		if !matches(each, object[name]) {
			return false
		}
	}
	return true
}

// inBounds compares a number with the bounds of an expectation, if it has some.
func inBounds(fields map[string]any, actual any) (within, bounded bool) {
	number, _ := actual.(json.Number)
	value, err := number.Float64()
	within = err == nil
	for name, sign := range map[string]float64{"$min": 1, "$max": -1} {
		if bound, ok := fields[name].(json.Number); ok {
			limit, _ := bound.Float64()
			bounded = true
			within = within && sign*(value-limit) >= 0
		}
	}
	return within, bounded
}

func show(value any) string {
	text, err := json.Marshal(value)
	if err != nil {
		return fmt.Sprint(value)
	}
	return string(text)
}
