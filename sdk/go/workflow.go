package goconductor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
)

// defaultStepAttempts is the number of attempts of a step that sets none. An error of a function in the program that
// starts the workflow rarely disappears with time, so it rolls the saga back within seconds.
const defaultStepAttempts = 5

// StepFunc executes or compensates a step of a [Workflow]. [Input] returns the input of the workflow. The package
// documentation states what its error means.
type StepFunc func(ctx context.Context) error

// Workflow is a saga whose steps are functions. The steps run in order and are compensated in reverse order.
type Workflow struct {
	// Name is the title. "Order Processing" becomes the definition order-processing, which is also the name of the
	// service that runs the steps.
	Name string
	// Steps are at least one step.
	Steps []WorkflowStep
	// Timeout limits the forward part of the workflow. 0 means that it has no limit.
	Timeout time.Duration
}

// WorkflowStep is a step: a function that executes it and a function that compensates it.
type WorkflowStep struct {
	// Name is the title. "Process Payment" becomes the step process_payment.
	Name string
	// Execute executes the step. [SetOutput] sets the output of the step.
	Execute StepFunc
	// Compensate undoes the step. It must succeed if there is nothing to undo. [Output] returns the output of the
	// step. nil means that the step has nothing to undo.
	Compensate StepFunc
	// Retry is the retry policy of Execute. The zero value means 5 attempts with the delays of the engine.
	Retry RetryPolicy
	// Timeout limits one attempt. 0 means the default of the engine, 30 seconds.
	Timeout time.Duration
}

// RetryPolicy states how often and when an attempt is repeated. A field that is 0 has the default of the engine.
type RetryPolicy struct {
	// MaxAttempts is the number of attempts.
	MaxAttempts int
	// Initial is the delay after the first attempt.
	Initial time.Duration
	// Max is the longest delay.
	Max time.Duration
}

// Step returns a step of typed functions. The compensation receives the input of the workflow and the output of the step.
// A nil compensation means that the step has nothing to undo.
func Step[I, O any](
	name string,
	execute func(ctx context.Context, input I) (O, error),
	compensate func(ctx context.Context, undo CompensationInput[I, O]) error,
) WorkflowStep {
	step := WorkflowStep{Name: name, Execute: func(ctx context.Context) error {
		input, err := fromInput[I](ctx)
		if err != nil {
			return err
		}
		output, err := execute(ctx, input)
		if err != nil {
			return err
		}
		return SetOutput(ctx, output)
	}}
	if compensate != nil {
		step.Compensate = func(ctx context.Context) error {
			undo, err := fromInput[CompensationInput[I, O]](ctx)
			if err != nil {
				return err
			}
			return compensate(ctx, undo)
		}
	}
	return step
}

// Input returns the input of the workflow, in a function of a step. An input of another form is an [Unknown] outcome with the
// code BAD_INPUT, because the function may have had an effect before. A step of [Step] is refused instead, because its input
// is decoded before its function is called.
func Input[T any](ctx context.Context) (T, error) {
	if attempt := AttemptOf(ctx); attempt == nil || attempt.operation == Execute {
		input, err := fromInput[T](ctx)
		return input, afterBegin(err)
	}
	undo, err := fromInput[CompensationInput[T, json.RawMessage]](ctx)
	return undo.Input, afterBegin(err)
}

// Output returns the output of the step, in the function that compensates it. It returns false if it is unknown whether
// the step took effect, or if the output is null. An output of another form is an [Unknown] outcome with the code BAD_INPUT.
func Output[T any](ctx context.Context) (T, bool, error) {
	var none T
	undo, err := fromInput[CompensationInput[json.RawMessage, T]](ctx)
	if err != nil || undo.Output == nil {
		return none, false, afterBegin(err)
	}
	return *undo.Output, true, nil
}

// afterBegin returns the error of an input that was decoded in a function of a step. A refusal would claim that the function
// had no effect.
func afterBegin(err error) error {
	var refused *ActionError
	if errors.As(err, &refused) {
		return Unknown(refused.Code, refused.Message).WithCause(errors.Unwrap(refused))
	}
	return err
}

// SetOutput sets the output of the step, in a function of a step.
func SetOutput(ctx context.Context, output any) error {
	attempt := AttemptOf(ctx)
	if attempt == nil || attempt.output == nil {
		return misuse("SetOutput was called outside a step of a Workflow")
	}
	encoded, err := encode(output)
	if err != nil {
		return Unknown("BAD_OUTPUT", err.Error()).WithCause(err)
	}
	*attempt.output = encoded
	return nil
}

// fromInput decodes the input of the attempt, before the function of the step begins. It refuses an input of another form.
func fromInput[T any](ctx context.Context) (T, error) {
	attempt := AttemptOf(ctx)
	if attempt == nil {
		var none T
		return none, misuse("the input and the output of a step were read outside an action")
	}
	value, err := decodeAs[T](attempt.input)
	if err != nil {
		return value, Refused("BAD_INPUT", err.Error()).WithCause(err)
	}
	return value, nil
}

// DefinitionName returns the name of the definition and of the service, such as order-processing.
func (w Workflow) DefinitionName() string { return words(w.Name, "-") }

type definitionJSON struct {
	Workflow string     `json:"workflow"`
	Title    string     `json:"title"`
	Timeout  string     `json:"timeout,omitempty"`
	Steps    []stepJSON `json:"steps"`
}

type stepJSON struct {
	Name       string    `json:"name"`
	Title      string    `json:"title"`
	Run        string    `json:"run"`
	Compensate string    `json:"compensate"`
	Retry      retryJSON `json:"retry"`
	Timeout    string    `json:"timeout,omitempty"`
}

type retryJSON struct {
	MaxAttempts int    `json:"max_attempts"`
	Initial     string `json:"initial,omitempty"`
	Max         string `json:"max,omitempty"`
}

// Definition returns the definition as JSON. It returns [ErrMisuse] if the workflow or a step is incomplete.
func (w Workflow) Definition() (json.RawMessage, error) {
	name := w.DefinitionName()
	if name == "" || len(w.Steps) == 0 {
		return nil, misuse("the workflow %q must have a name and at least one step", w.Name)
	}
	definition := definitionJSON{Workflow: name, Title: w.Name, Timeout: duration(w.Timeout)}
	for _, step := range w.Steps {
		stepName := step.name()
		if stepName == "" || step.Execute == nil {
			return nil, misuse("the step %q must have a name and an Execute function", step.Name)
		}
		entry := stepJSON{
			Name:       stepName,
			Title:      step.Name,
			Run:        name + "/" + stepName,
			Compensate: "none",
			Timeout:    duration(step.Timeout),
			Retry: retryJSON{
				MaxAttempts: step.Retry.MaxAttempts,
				Initial:     duration(step.Retry.Initial),
				Max:         duration(step.Retry.Max),
			},
		}
		if entry.Retry.MaxAttempts <= 0 {
			entry.Retry.MaxAttempts = defaultStepAttempts
		}
		if step.Compensate != nil {
			entry.Compensate = name + "/undo_" + stepName
		}
		definition.Steps = append(definition.Steps, entry)
	}
	return encode(definition)
}

func (s WorkflowStep) name() string { return words(s.Name, "_") }

// Service returns the service that runs the steps, to serve it without starting a workflow.
func (w Workflow) Service() (*Service, error) {
	service := NewService(w.DefinitionName())
	for _, step := range w.Steps {
		service.Handle(step.name(), stepHandler(step.Execute))
		if step.Compensate != nil {
			service.Handle("undo_"+step.name(), stepHandler(step.Compensate))
		}
	}
	return service, service.check()
}

func stepHandler(run StepFunc) Handler {
	return func(ctx context.Context, _ json.RawMessage) (json.RawMessage, error) {
		// A copy, so that a repeat of the handler by an interceptor does not see the output of the first call.
		attempt := *AttemptOf(ctx)
		output := json.RawMessage("null")
		attempt.output = &output
		if err := run(withAttempt(ctx, &attempt)); err != nil {
			return nil, err
		}
		return output, nil
	}
}

// words joins the words of a title, in lower case and without other characters than letters and digits of ASCII.
func words(title, separator string) string {
	split := strings.FieldsFunc(title, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9')
	})
	return strings.ToLower(strings.Join(split, separator))
}

// duration converts a duration to the form of definitions. 0 becomes empty.
func duration(d time.Duration) string {
	if d <= 0 {
		return ""
	}
	return fmt.Sprintf("%dms", max(1, d.Milliseconds()))
}
