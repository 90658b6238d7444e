package inbox

import (
	"errors"
	"fmt"
	"strings"

	"github.com/goconductor/goconductor/sdk/go"
)

// ErrKey means that a text is not an idempotency key of the operation.
var ErrKey = errors.New("invalid idempotency key")

// StepOf returns the workflow and the step of a key `<workflow>/<step>/<execute or compensate>`, the common part of both
// operations. It returns [ErrKey] if the text is not a key of the operation.
func StepOf(key string, operation goconductor.Operation) (string, error) {
	step, found := strings.CutSuffix(key, "/"+string(operation))
	workflow, name, split := strings.Cut(step, "/")
	if !found || !split || workflow == "" || name == "" || strings.Contains(name, "/") {
		return "", fmt.Errorf("%w %q: expected <workflow>/<step>/%s", ErrKey, key, operation)
	}
	return step, nil
}
