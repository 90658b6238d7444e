package goconductor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	pb "github.com/goconductor/goconductor/sdk/go/goconductorv1"
)

func TestWorkflowIsConvertedToItsDefinition(t *testing.T) {
	t.Parallel()
	run := func(context.Context) error { return nil }
	workflow := Workflow{Name: "Order  Processing", Timeout: time.Minute, Steps: []WorkflowStep{
		{Name: "Process Payment", Execute: run, Compensate: run, Timeout: 1500 * time.Millisecond},
		{Name: "Ship", Execute: run, Retry: RetryPolicy{MaxAttempts: 2, Initial: time.Second}},
	}}
	definition, err := workflow.Definition()
	expected := `{"workflow":"order-processing","title":"Order  Processing","timeout":"60000ms","steps":[` +
		`{"name":"process_payment","title":"Process Payment","run":"order-processing/process_payment",` +
		`"compensate":"order-processing/undo_process_payment","retry":{"max_attempts":5},"timeout":"1500ms"},` +
		`{"name":"ship","title":"Ship","run":"order-processing/ship","compensate":"none",` +
		`"retry":{"max_attempts":2,"initial":"1000ms"}}]}`
	if err != nil || string(definition) != expected {
		t.Errorf("the definition is %s, %v", definition, err)
	}
	service, err := workflow.Service()
	if err != nil || strings.Join(service.Actions(), " ") != "process_payment ship undo_process_payment" {
		t.Errorf("the actions are %v, %v", service, err)
	}
}

func TestResultThatExceedsTheLimitIsNotSent(t *testing.T) {
	t.Parallel()
	s := &stream{maxOutput: 10}
	small, large := json.RawMessage(`"xxxxxxxx"`), json.RawMessage(`"xxxxxxxxx"`)
	if sent := s.result(1, small, nil); sent.GetDone().GetOutputJson() != string(small) {
		t.Errorf("sent %v", sent)
	}
	if sent := s.result(1, large, nil); sent.GetUnknown().GetFailure().GetCode() != "OUTPUT_TOO_LARGE" {
		t.Errorf("sent %v", sent)
	}
	for detail, expected := range map[string]string{"xxxxxxxx": "no", "xxxxxxxxx": "no [cut: details of 11 bytes]"} {
		sent := s.result(1, nil, Refused("NO", "no").WithDetail(detail))
		if message := sent.GetRefused().GetFailure().GetMessage(); message != expected {
			t.Errorf("sent %q", message)
		}
	}
}

type panics struct{}

func (panics) Error() string                { panic("no text") }
func (panics) MarshalJSON() ([]byte, error) { panic("no JSON") }

// A message that cannot be sent would end the stream with all its tasks.
func TestEachResultCanBeSent(t *testing.T) {
	t.Parallel()
	s := &stream{maxOutput: 100}
	var none *ActionError
	for _, each := range []struct {
		output string
		err    error
		code   string
	}{
		{"\"\xff\"", nil, "BAD_OUTPUT"},
		{"", errors.New("caf\xe9" + strings.Repeat("x", 10*maxText)), "ERROR"},
		{"", none, "ERROR"},
		{"", panics{}, "PANICKED"},
		{"", Refused("NO", "no").WithDetail(panics{}), "PANICKED"},
	} {
		sent := s.result(1, json.RawMessage(each.output), each.err)
		text, err := proto.Marshal(sent)
		if err != nil || len(text) > 2*maxText || sent.GetUnknown().GetFailure().GetCode() != each.code {
			t.Errorf("%s: %v, %v", each.code, sent, err)
		}
	}
	for _, refused := range []*ActionError{Refused("N\xff", "\xff"), Refused("NO", "").WithDetail(json.RawMessage("\"\xff\""))} {
		if _, err := proto.Marshal(s.result(1, nil, refused)); err != nil {
			t.Error(err)
		}
	}
}

func TestInterceptorThatPanicsHasAnUnknownOutcome(t *testing.T) {
	t.Parallel()
	service := NewService("shop", Intercept(func(Handler) Handler { panic("no handler") }))
	service.Handle("work", func(context.Context, json.RawMessage) (json.RawMessage, error) { return nil, nil })
	attempt := &Attempt{action: "work", deadline: time.Now().Add(time.Minute), logger: slog.New(slog.DiscardHandler)}
	if _, err := service.run(t.Context(), attempt, nil); AsActionError(err).Code != "PANICKED" {
		t.Errorf("the error is %v", err)
	}
}

func TestRetriesCountFromTheFirstFailure(t *testing.T) {
	t.Parallel()
	failure := &Error{Retryable: true}
	retries := newRetries()
	if !retries.wait(t.Context(), failure) {
		t.Error("the first failure is not retried")
	}
	retries.deadline = time.Now().Add(-time.Second)
	if retries.wait(t.Context(), failure) {
		t.Error("a failure after the deadline is retried")
	}
}

func TestErrorsReportTheirOutcomes(t *testing.T) {
	t.Parallel()
	cause := errors.New("cause")
	for _, each := range []struct {
		err  error
		kind Kind
		code string
	}{
		{errors.New("other"), KindUnknown, "ERROR"},
		{context.Canceled, KindUnknown, "CANCELLED"},
		{fmt.Errorf("%w: no longer wanted", ErrAttemptCancelled), KindUnknown, "CANCELLED"},
		{ErrStreamLost, KindUnknown, "CANCELLED"},
		{errors.Join(context.DeadlineExceeded), KindUnknown, "DEADLINE_EXCEEDED"},
		{errors.Join(cause, Refused("NO", "no")), KindRefused, "NO"},
		{Retryable("BUSY", "busy").WithCause(cause), KindRetryable, "BUSY"},
	} {
		if action := AsActionError(each.err); action.Kind != each.kind || action.Code != each.code {
			t.Errorf("%v is %v %s", each.err, action.Kind, action.Code)
		}
	}
	if !errors.Is(Retryable("BUSY", "busy").WithCause(cause), cause) {
		t.Error("the cause is not found")
	}
}

func TestNumbersKeepTheirDigits(t *testing.T) {
	t.Parallel()
	value, err := decodeAs[map[string]any]([]byte(`{"n":9223372036854775807,"text":"<é>"}`))
	if err != nil {
		t.Fatal(err)
	}
	text, err := encode(value)
	if err != nil || string(text) != `{"n":9223372036854775807,"text":"<é>"}` {
		t.Errorf("%s, %v", text, err)
	}
	if _, err := decodeAs[any]([]byte(`1 2`)); err == nil {
		t.Error("trailing characters are accepted")
	}
}

func TestAnswerToAProbeHasTheFormOfTheContract(t *testing.T) {
	t.Parallel()
	for expected, answer := range map[string]ProbeAnswer[int]{
		`{"outcome":"done","output":7}`: ProbeDone(7),
		`{"outcome":"not_done"}`:        ProbeNotDone[int](),
		`{"outcome":"unknown"}`:         ProbeUnknown[int](),
	} {
		if text, err := encode(answer); err != nil || string(text) != expected {
			t.Errorf("%s, %v", text, err)
		}
	}
}

// The ticks of a detector that starts at 0, the time at which a message is received, and how long ago it may have arrived, in
// milliseconds. The tests of all SDKs have these cases.
var stallCases = []struct {
	name       string
	ticks      []int
	receivedAt int
	expected   int
}{
	{"progress", []int{100}, 199, 0},
	{"a delay that is no stall", []int{100}, 399, 0},
	{"the shortest stall", []int{100}, 400, 300},
	{"a message before the tick that ends the stall", []int{100}, 2100, 2000},
	{"a message that waited, after that tick", []int{100, 2100}, 2110, 2010},
	{"the last message that was held back", []int{100, 2100}, 2199, 2099},
	{"a task that was sent after the stall", []int{100, 2100}, 2200, 0},
	{"a second tick soon after the stall", []int{100, 2100, 2105}, 2150, 2050},
	{"a task that was sent long after the stall", []int{100, 2100, 2200, 2300, 2400}, 2450, 0},
	{"a second stall soon after the first", []int{100, 2100, 2500}, 2550, 450},
	{"a second stall that goes on", []int{100, 2100, 2200}, 2600, 400},
	{"a message that was received before the stall", []int{100, 2100}, 50, 0},
}

func TestTaskLosesTheStallDuringWhichItWaited(t *testing.T) {
	t.Parallel()
	for _, each := range stallCases {
		start := time.Now()
		at := func(milliseconds int) time.Time { return start.Add(time.Duration(milliseconds) * time.Millisecond) }
		detector := &stallDetector{lastTick: start}
		for _, tick := range each.ticks {
			detector.tick(at(tick))
		}
		if delay := detector.delay(at(each.receivedAt)); delay != time.Duration(each.expected)*time.Millisecond {
			t.Errorf("%s: delayed by %v", each.name, delay)
		}
	}
}

func TestInputOfAnotherFormIsRefusedOnlyBeforeTheStepBegins(t *testing.T) {
	t.Parallel()
	read := func(ctx context.Context) error {
		_, err := Input[int](ctx)
		return err
	}
	output := func(ctx context.Context) error {
		_, _, err := Output[int](ctx)
		return err
	}
	typed := Step("typed", func(context.Context, int) (int, error) { panic("the function was called") },
		func(context.Context, CompensationInput[int, int]) error { panic("the function was called") })
	for name, each := range map[string]struct {
		operation Operation
		step      StepFunc
		kind      Kind
	}{
		"input":              {Execute, read, KindUnknown},
		"compensation":       {Compensate, read, KindUnknown},
		"output":             {Compensate, output, KindUnknown},
		"typed":              {Execute, typed.Execute, KindRefused},
		"typed compensation": {Compensate, typed.Compensate, KindRefused},
	} {
		text := `"x"`
		if each.operation == Compensate {
			text = `{"input":"x","output":"x"}`
		}
		ctx := context.WithValue(t.Context(), attemptKey{}, &Attempt{operation: each.operation, input: json.RawMessage(text)})
		var action *ActionError
		err := each.step(ctx)
		if !errors.As(err, &action) || action.Kind != each.kind || action.Code != "BAD_INPUT" || errors.Unwrap(action) == nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestTimeoutOfATaskIsThatOfTheExecutor(t *testing.T) {
	t.Parallel()
	past := timestamppb.New(time.Now().Add(-time.Hour))
	if left := timeout(&pb.Task{Timeout: durationpb.New(time.Second), Deadline: past}); left != time.Second {
		t.Errorf("%v are left", left)
	}
	if left := timeout(&pb.Task{Deadline: past}); left > -time.Minute {
		t.Errorf("%v are left", left)
	}
}

func TestRolesOfCertificatesAreRead(t *testing.T) {
	t.Parallel()
	var uris []*url.URL
	for _, text := range []string{
		"spiffe://goconductor/saga-executor", "spiffe://other/worker/payments", "spiffe://goconductor/unknown", "https://api-gateway",
	} {
		uri, err := url.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		uris = append(uris, uri)
	}
	if found := strings.Join(certificateRoles(uris), " "); found != "saga-executor worker" {
		t.Errorf("the roles are %q", found)
	}
}

func TestExecutorAcceptsTheServicesThatItAnnounces(t *testing.T) {
	t.Parallel()
	for about, expected := range map[string]bool{
		"": true, "{}": true, `{"only":[]}`: true, `{"only":["shop","x"]}`: true, `{"only":["x"]}`: false, "[": true,
	} {
		if accepts(about, "shop") != expected {
			t.Errorf("%s: %v", about, !expected)
		}
	}
}
