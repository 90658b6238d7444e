package goconductor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// Kind is the kind of an [ActionError]. It determines how the saga proceeds.
type Kind int

const (
	// KindUnknown means that the action may have taken effect.
	KindUnknown Kind = iota
	// KindRetryable means that nothing happened, and that a retry may succeed.
	KindRetryable
	// KindRefused means that nothing happened, and that a retry would not help.
	KindRefused
)

// String returns the name of the kind.
func (k Kind) String() string {
	switch k {
	case KindRetryable:
		return "retryable"
	case KindRefused:
		return "refused"
	default:
		return "unknown"
	}
}

// ActionError is the error of an action, with the outcome that it reports.
type ActionError struct {
	// Kind determines how the saga proceeds.
	Kind Kind
	// Code is a stable code for programs, which `retry.on` of a definition can name.
	Code string
	// Message is for people.
	Message string
	// Detail has further details, which are converted to JSON. Only refusals have them.
	Detail any
	// After is the minimum delay before the next attempt. Only retryable errors have it.
	After time.Duration
	// Err is the cause, if the error has one.
	Err error
}

// Error returns the code and the message.
func (e *ActionError) Error() string {
	if e.Message == "" {
		return e.Code
	}
	return e.Code + ": " + e.Message
}

// Unwrap returns the cause.
func (e *ActionError) Unwrap() error { return e.Err }

// WithCause returns a copy of the error with a cause, which errors.Is and errors.As find.
func (e *ActionError) WithCause(err error) *ActionError {
	clone := *e
	clone.Err = err
	return &clone
}

// WithDetail returns a copy of the error with details.
func (e *ActionError) WithDetail(detail any) *ActionError {
	clone := *e
	clone.Detail = detail
	return &clone
}

// Retryable returns an error for an action that had no effect and may succeed later. The step is retried by its retry
// policy.
func Retryable(code, message string) *ActionError {
	return &ActionError{Kind: KindRetryable, Code: code, Message: message}
}

// RetryAfter returns an error like [Retryable]. The next attempt follows after the delay or later.
func RetryAfter(code, message string, delay time.Duration) *ActionError {
	return &ActionError{Kind: KindRetryable, Code: code, Message: message, After: delay}
}

// Refused returns an error for an action that had no effect and cannot succeed. The saga rolls back.
func Refused(code, message string) *ActionError {
	return &ActionError{Kind: KindRefused, Code: code, Message: message}
}

// Unknown returns an error for an action that may have taken effect. The step is retried with the same idempotency key,
// and compensated if the saga rolls back.
func Unknown(code, message string) *ActionError {
	return &ActionError{Kind: KindUnknown, Code: code, Message: message}
}

// AsActionError returns the outcome that an error of an action reports. An error that is not an [ActionError] reports an
// unknown outcome.
func AsActionError(err error) *ActionError {
	var action *ActionError
	if errors.As(err, &action) {
		if action == nil {
			return Unknown("ERROR", "the action returned a nil *ActionError as an error")
		}
		return action
	}
	code := "ERROR"
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, ErrAttemptCancelled), errors.Is(err, ErrStreamLost):
		code = "CANCELLED"
	case errors.Is(err, context.DeadlineExceeded):
		code = "DEADLINE_EXCEEDED"
	}
	return Unknown(code, err.Error()).WithCause(err)
}

// The kinds of errors of calls, for errors.Is.
var (
	// ErrNotFound means that the resource does not exist.
	ErrNotFound = errors.New("not found")
	// ErrConflict means that the current state does not allow the call.
	ErrConflict = errors.New("conflict")
	// ErrInvalid means that the request is invalid.
	ErrInvalid = errors.New("invalid request")
	// ErrNotAllowed means that the credentials do not allow the call, or are missing.
	ErrNotAllowed = errors.New("not allowed")
	// ErrOverloaded means that the call was refused because of overload and had no effect.
	ErrOverloaded = errors.New("overloaded")
	// ErrUnreachable means that the gateway cannot be reached. A write may have taken effect.
	ErrUnreachable = errors.New("unreachable")
	// ErrTimeout means that no response arrived in time. A write may have taken effect.
	ErrTimeout = errors.New("timeout")
	// ErrMisuse means that a workflow, a service or an address is invalid. Correct the program.
	ErrMisuse = errors.New("misuse")
	// ErrNoExecutor means that no executor accepted a worker of the service.
	ErrNoExecutor = errors.New("no executor")
)

// Error is the error of a call to GoConductor. Its kind is one of the variables such as [ErrNotFound], which errors.Is
// finds.
type Error struct {
	// Code is the stable code, such as GC2010. Each code has a page in the documentation. It is empty if the gateway
	// did not describe the error.
	Code string
	// Message says what failed, which value caused it and what to do.
	Message string
	// Locations are the errors in the request, such as the problems of a definition.
	Locations []Location
	// Retryable reports whether the same call may succeed later. A write must have an idempotency key to be retried.
	Retryable bool
	// RetryDelay is the delay that the gateway requests before a retry. It is 0 if it requests none.
	RetryDelay time.Duration
	// TraceID identifies the response in the log of the gateway.
	TraceID string

	kind error
	err  error
}

// Location is the location of an error in a request.
type Location struct {
	// Pointer is a JSON pointer into the request, or the name of a field.
	Pointer string
	// Detail is the description, with its code, and the line and the column if they are known.
	Detail string
}

// Error returns the message, with its code.
func (e *Error) Error() string {
	text := e.Message
	if e.Code != "" {
		text = e.Code + ": " + text
	}
	for _, location := range e.Locations {
		text += "; " + location.Pointer + ": " + location.Detail
	}
	return text
}

// Is reports whether the error is of a kind such as [ErrNotFound].
func (e *Error) Is(target error) bool { return e.kind != nil && e.kind == target }

// Unwrap returns the cause, which has the gRPC status of a call.
func (e *Error) Unwrap() error { return e.err }

func misuse(format string, arguments ...any) error {
	return &Error{Message: fmt.Sprintf(format, arguments...), kind: ErrMisuse}
}

// detailJSON converts details to JSON. Details that cannot be converted are kept as text.
func detailJSON(detail any) string {
	if detail == nil {
		return ""
	}
	encoded, err := encode(detail)
	if err != nil {
		encoded, err = json.Marshal(fmt.Sprint(detail))
		if err != nil {
			return ""
		}
	}
	return string(encoded)
}
