package goconductor

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
)

// encode converts a value to JSON. Characters of HTML are not escaped, because the text is not part of a page.
func encode(value any) (json.RawMessage, error) {
	if raw, ok := value.(json.RawMessage); ok {
		if len(raw) == 0 {
			return json.RawMessage("null"), nil
		}
		if !json.Valid(raw) {
			return nil, errors.New("the raw message is not valid JSON")
		}
		return raw, nil
	}
	var buffer bytes.Buffer
	encoder := json.NewEncoder(&buffer)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		return nil, err
	}
	return json.RawMessage(bytes.TrimSuffix(buffer.Bytes(), []byte("\n"))), nil
}

// decode converts JSON to a value. Empty text is null. Numbers of untyped values keep their digits.
func decode(text []byte, value any) error {
	if len(text) == 0 {
		text = []byte("null")
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	if err := decoder.Decode(value); err != nil {
		return err
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return errors.New("the JSON has trailing characters")
	}
	return nil
}

func decodeAs[T any](text []byte) (T, error) {
	var value T
	err := decode(text, &value)
	return value, err
}
