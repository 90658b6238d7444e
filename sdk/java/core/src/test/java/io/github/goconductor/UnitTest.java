package io.github.goconductor;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertSame;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.goconductor.v1.Task;
import io.github.goconductor.v1.TaskResult;
import java.io.IOException;
import java.time.Duration;
import java.time.Instant;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.CancellationException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import org.junit.jupiter.api.Test;

final class UnitTest {
    @Test
    void failuresReportTheirOutcomes() {
        Exception cause = new IOException("cause");
        outcome(new IOException("other"), ActionException.Kind.UNKNOWN, "ERROR");
        outcome(new NullPointerException(), ActionException.Kind.UNKNOWN, "ERROR");
        outcome(new AssertionError("no"), ActionException.Kind.UNKNOWN, "PANICKED");
        outcome(new CancellationException(), ActionException.Kind.UNKNOWN, "CANCELLED");
        outcome(new InterruptedException(), ActionException.Kind.UNKNOWN, "CANCELLED");
        outcome(new AttemptCancelledException(CancelReason.STREAM_LOST, "lost"), ActionException.Kind.UNKNOWN, "CANCELLED");
        outcome(new IllegalStateException(new AttemptCancelledException(CancelReason.DEADLINE_EXCEEDED, "late")),
                ActionException.Kind.UNKNOWN, "DEADLINE_EXCEEDED");
        outcome(new TimeoutException(), ActionException.Kind.UNKNOWN, "DEADLINE_EXCEEDED");
        outcome(new IllegalStateException(ActionException.refused("NO", "no")), ActionException.Kind.REFUSED, "NO");
        ActionException busy = ActionException.retryable("BUSY", "busy").withCause(cause);
        outcome(busy, ActionException.Kind.RETRYABLE, "BUSY");
        assertSame(cause, busy.getCause());
        assertEquals("BUSY: busy", busy.getMessage());
    }

    private static void outcome(Throwable failure, ActionException.Kind kind, String code) {
        ActionException outcome = ActionException.of(failure);
        assertEquals(kind, outcome.kind(), failure.toString());
        assertEquals(code, outcome.code(), failure.toString());
    }

    @Test
    void numbersKeepTheirDigits() throws IOException {
        for (String text : List.of("{\"n\":9223372036854775807,\"text\":\"<é>\"}", "{\"n\":123456789012345678901234567890}",
                "{\"n\":0.12345678901234567890123}", "{\"n\":1.10}")) {
            assertEquals(text, Codec.encode(Codec.decode(text, Map.class)));
            CompensationInput<Json, Json> undo = Codec.undo(
                    "{\"input\":" + text + ",\"output\":" + text + "}", Codec.type(Json.class), Codec.type(Json.class));
            assertEquals(text, undo.input().text());
            assertEquals(text, undo.output().orElseThrow().text());
        }
        assertThrows(IOException.class, () -> Codec.decode("1 2", Object.class));
        for (String text : List.of("", "1 2", "{", "tru", "{\"a\":}", "[1,]")) {
            assertFalse(Codec.isJson(text), text);
        }
        assertTrue(Codec.isJson("{\"a\":[1,\"x\"]}"));
    }

    record Parcel(String id, Json content, List<Json> more) {}

    @Test
    void fieldsOfJsonKeepTheirText() throws IOException {
        String text = "{\"id\":\"p\",\"content\":{\"n\":1.10},\"more\":[1,null,\"x\"]}";
        Parcel parcel = Codec.decode(text, Parcel.class);
        assertEquals(new Parcel("p", new Json("{\"n\":1.10}"),
                List.of(new Json("1"), Json.NULL, new Json("\"x\""))), parcel);
        assertEquals(text, Codec.encode(parcel));
        assertEquals(Json.NULL, Codec.decode("{}", Parcel.class).content());
    }

    @Test
    void optionsOfAStartAreIndependent() {
        StartOptions options = StartOptions.of(1).withKey("k").withLabel("team", "shop").withVersion(2);
        assertEquals(options, StartOptions.defaults().withLabel("team", "shop").withVersion(2).withKey("k").withInput(1));
    }

    @Test
    void durationsDoNotOverflow() {
        Duration longest = Duration.ofSeconds(Long.MAX_VALUE, 999_999_999);
        assertEquals(Long.MAX_VALUE / 4, Wire.nanos(longest));
        assertEquals(-(Long.MAX_VALUE / 4), Wire.nanos(longest.negated()));
        assertEquals(-1, Wire.nanos(Duration.ofNanos(-1)));
    }

    @Test
    void cancelledAttemptIsNotStarted() {
        Service shop = Service.builder("shop").handle("charge", (attempt, input) -> {
            throw new AssertionError("the action was called");
        }).build();
        Attempt attempt = new Attempt("shop", Task.newBuilder().setAction("charge").build(),
                System.nanoTime() + TimeUnit.MINUTES.toNanos(1), () -> {});
        attempt.cancel(CancelReason.STREAM_LOST, "lost");
        ActionException outcome = assertThrows(ActionException.class, () -> shop.run(attempt, List.of()));
        assertEquals("NOT_STARTED", outcome.code());
        assertEquals(ActionException.Kind.RETRYABLE, outcome.kind());
    }

    @Test
    void compensationWithoutAnOutputHasNone() {
        for (String text : List.of("{\"input\":1}", "{\"input\":1,\"output\":null}")) {
            CompensationInput<Integer, String> undo = Codec.undo(text, Codec.type(Integer.class), Codec.type(String.class));
            assertEquals(1, undo.input());
            assertEquals(Optional.empty(), undo.output());
        }
        for (String text : List.of("{\"input\":\"x\"}", "{\"output\":\"x\"}", "{}", "[1]", "null")) {
            ActionException refused = assertThrows(ActionException.class,
                    () -> Codec.undo(text, Codec.type(Integer.class), Codec.type(String.class)));
            assertEquals("BAD_INPUT", refused.code());
        }
    }

    @Test
    void definitionOfAWorkflowHasItsSteps() {
        Workflow workflow = new Workflow("Order Processing",
                new WorkflowStep("Process Payment", step -> {}, step -> {}).withTimeout(Duration.ofMillis(1500)),
                new WorkflowStep("Ship", step -> {}, null)
                        .withRetry(new RetryPolicy(2, Duration.ofSeconds(1), Duration.ZERO)));
        assertEquals("{\"workflow\":\"order-processing\",\"title\":\"Order Processing\",\"steps\":["
                + "{\"name\":\"process_payment\",\"title\":\"Process Payment\",\"run\":\"order-processing/process_payment\","
                + "\"compensate\":\"order-processing/undo_process_payment\",\"retry\":{\"max_attempts\":5},"
                + "\"timeout\":\"1500ms\"},{\"name\":\"ship\",\"title\":\"Ship\",\"run\":\"order-processing/ship\","
                + "\"compensate\":\"none\",\"retry\":{\"max_attempts\":2,\"initial\":\"1000ms\"}}]}",
                workflow.definition().text());
        assertEquals(List.of("process_payment", "ship", "undo_process_payment"), workflow.service().actions());
        misuse(() -> new Workflow("…").definition());
        misuse(() -> new Workflow("Order", new WorkflowStep("Ship", null, null)).definition());
    }

    @Test
    void namesOfServicesAndActionsAreChecked() {
        misuse(() -> Service.builder("Shop").handle("a", (attempt, input) -> input).build());
        misuse(() -> Service.builder("shop-").handle("a", (attempt, input) -> input).build());
        misuse(() -> Service.builder("shop").build());
        misuse(() -> Service.builder("shop").handle("a/b", (attempt, input) -> input).build());
        misuse(() -> Service.builder("shop").handle("a", (attempt, input) -> input).handle("a", (attempt, input) -> input));
    }

    @Test
    void settingsOfAClientAreChecked() {
        for (String address : List.of("", "127.0.0.1:8470", "ftp://x", "http://user@x", "http://x/path", "http://x?q=1",
                "http://x:0", "http://x:65536")) {
            misuse(() -> Client.connect(address));
        }
        misuse(() -> Client.builder("http://x").tls(TlsFiles.authorities(null)).build());
        misuse(() -> Client.builder("http://x").executors(List.of("https://y")).build());
        misuse(() -> Client.fromEnvironment(Map.of("GOCONDUCTOR_SERVER", "https://x", "GOCONDUCTOR_CERT", "c")).build());
        assertEquals(new Client.Endpoint("::1", 443, true), Client.Endpoint.parse("https://[::1]/"));
        Client.fromEnvironment(Map.of("GOCONDUCTOR_NAMESPACE", "n", "GOCONDUCTOR_TOKEN", "t")).build().close();
    }

    private static void misuse(org.junit.jupiter.api.function.Executable call) {
        assertEquals(ErrorKind.MISUSE, assertThrows(GoConductorException.class, call).kind());
    }

    /** Fails when it is described. */
    private static final class Unprintable extends RuntimeException {
        private static final long serialVersionUID = 1;

        @Override
        public String getMessage() {
            throw new IllegalStateException("no text");
        }
    }

    // A message that cannot be sent would end the stream with all its tasks.
    @Test
    void eachResultCanBeSent() {
        assertEquals("\"xxxxxxxx\"", WorkerStream.done(1, "\"xxxxxxxx\"", 10).getDone().getOutputJson());
        assertEquals("OUTPUT_TOO_LARGE",
                assertThrows(ActionException.class, () -> WorkerStream.done(1, "\"xxxxxxxxx\"", 10)).code());
        assertEquals("BAD_OUTPUT", assertThrows(ActionException.class, () -> WorkerStream.done(1, "\"\ud800\"", 100)).code());
        assertEquals("PANICKED",
                WorkerStream.failed(1, new Unprintable(), 100).getUnknown().getFailure().getCode());
        TaskResult large = WorkerStream.failed(1, new IOException("\ud800" + "é".repeat(1 << 20)), 100);
        assertTrue(large.getSerializedSize() < 1 << 16, "the result has " + large.getSerializedSize() + " bytes");
        TaskResult cut = WorkerStream.failed(1, ActionException.refused("NO", "no").withDetail("xxxxxxxxx"), 10);
        assertEquals("no [cut: details of 11 bytes]", cut.getRefused().getFailure().getMessage());
        TaskResult kept = WorkerStream.failed(1, ActionException.refused("NO", "no").withDetail("xxxxxxxx"), 10);
        assertEquals("\"xxxxxxxx\"", kept.getRefused().getFailure().getDetailJson());
    }

    @Test
    void timeoutOfATaskIsThatOfTheExecutor() {
        Task.Builder task = Task.newBuilder().setDeadline(Wire.timestamp(Instant.now().minusSeconds(3600)));
        assertTrue(WorkerStream.timeout(task.build()).compareTo(Duration.ofMinutes(-1)) < 0);
        assertEquals(Duration.ofSeconds(1),
                WorkerStream.timeout(task.setTimeout(Wire.duration(Duration.ofSeconds(1))).build()));
    }

    /**
     * The ticks of a detector that starts at 0, the time at which a message is received, and how long ago it may have arrived,
     * in milliseconds. The tests of all SDKs have these cases.
     */
    private record StallCase(String name, List<Integer> ticks, int receivedAt, int expected) {}

    private static final List<StallCase> STALLS = List.of(
            new StallCase("progress", List.of(100), 199, 0),
            new StallCase("a delay that is no stall", List.of(100), 399, 0),
            new StallCase("the shortest stall", List.of(100), 400, 300),
            new StallCase("a message before the tick that ends the stall", List.of(100), 2100, 2000),
            new StallCase("a message that waited, after that tick", List.of(100, 2100), 2110, 2010),
            new StallCase("the last message that was held back", List.of(100, 2100), 2199, 2099),
            new StallCase("a task that was sent after the stall", List.of(100, 2100), 2200, 0),
            new StallCase("a second tick soon after the stall", List.of(100, 2100, 2105), 2150, 2050),
            new StallCase("a task that was sent long after the stall", List.of(100, 2100, 2200, 2300, 2400), 2450, 0),
            new StallCase("a second stall soon after the first", List.of(100, 2100, 2500), 2550, 450),
            new StallCase("a second stall that goes on", List.of(100, 2100, 2200), 2600, 400),
            new StallCase("a message that was received before the stall", List.of(100, 2100), 50, 0));

    @Test
    void taskLosesTheStallDuringWhichItWaited() {
        // The clock of the JVM starts at any value.
        for (long start : new long[] {0, Long.MAX_VALUE - TimeUnit.SECONDS.toNanos(1)}) {
            for (StallCase each : STALLS) {
                StallDetector detector = new StallDetector(start);
                each.ticks.forEach(tick -> detector.tick(start + TimeUnit.MILLISECONDS.toNanos(tick)));
                assertEquals(TimeUnit.MILLISECONDS.toNanos(each.expected),
                        detector.delay(start + TimeUnit.MILLISECONDS.toNanos(each.receivedAt)), each.name);
            }
        }
    }

    @Test
    void drainIsCompleteWhenNoTaskIsOnTheWay() {
        long later = TimeUnit.MINUTES.toNanos(1);
        DrainProgress drain = new DrainProgress(true);
        drain.acknowledged(0);
        assertFalse(drain.isComplete(later), "the drain has not begun");
        drain.workerDrains(0);
        assertTrue(drain.left(0).isEmpty());
        assertFalse(drain.isComplete(later), "the drain is not acknowledged");
        drain.acknowledged(later);
        assertTrue(drain.isComplete(later));
        DrainProgress byExecutor = new DrainProgress(true);
        byExecutor.workerDrains(0);
        byExecutor.executorDrains(0);
        assertTrue(byExecutor.isComplete(0));
    }

    @Test
    void earlierExecutorMaySendTasksForAWhile() {
        for (boolean byExecutor : new boolean[] {false, true}) {
            DrainProgress drain = new DrainProgress(false);
            if (byExecutor) {
                drain.executorDrains(0);
            } else {
                drain.workerDrains(0);
            }
            // A second drain does not prolong the wait.
            drain.workerDrains(DrainProgress.GRACE / 2);
            drain.executorDrains(DrainProgress.GRACE / 2);
            assertEquals(DrainProgress.GRACE, drain.left(0).orElseThrow());
            assertFalse(drain.isComplete(DrainProgress.GRACE / 2));
            assertTrue(drain.isComplete(DrainProgress.GRACE));
        }
    }

    @Test
    void inputOfAnotherFormIsRefusedOnlyBeforeTheStepBegins() {
        StepFunction input = step -> step.input(Integer.class);
        badInput(input, io.github.goconductor.v1.Operation.OPERATION_EXECUTE, ActionException.Kind.UNKNOWN);
        badInput(input, io.github.goconductor.v1.Operation.OPERATION_COMPENSATE, ActionException.Kind.UNKNOWN);
        badInput(step -> step.output(Integer.class), io.github.goconductor.v1.Operation.OPERATION_COMPENSATE,
                ActionException.Kind.UNKNOWN);
        WorkflowStep typed = WorkflowStep.typed("typed", Integer.class, Integer.class,
                (attempt, value) -> {
                    throw new AssertionError("the function was called");
                },
                (attempt, undo) -> {
                    throw new AssertionError("the function was called");
                });
        badInput(typed.execute(), io.github.goconductor.v1.Operation.OPERATION_EXECUTE, ActionException.Kind.REFUSED);
        badInput(typed.compensate(), io.github.goconductor.v1.Operation.OPERATION_COMPENSATE, ActionException.Kind.REFUSED);
    }

    private static void badInput(
            StepFunction function, io.github.goconductor.v1.Operation operation, ActionException.Kind expected) {
        String text = operation == io.github.goconductor.v1.Operation.OPERATION_EXECUTE
                ? "\"x\"" : "{\"input\":\"x\",\"output\":\"x\"}";
        Attempt attempt = new Attempt("shop", Task.newBuilder().setOperation(operation).setInputJson(text).build(),
                System.nanoTime(), () -> {});
        ActionException failure = assertThrows(ActionException.class, () -> function.run(new StepContext(attempt)));
        assertEquals(expected, failure.kind());
        assertEquals("BAD_INPUT", failure.code());
    }

    @Test
    void executorAcceptsTheServicesThatItAnnounces() {
        for (String about : List.of("", "{}", "{\"only\":[]}", "{\"only\":[\"shop\",\"x\"]}", "[")) {
            assertTrue(Worker.accepts(about, "shop"), about);
        }
        assertFalse(Worker.accepts("{\"only\":[\"x\"]}", "shop"));
    }

    @Test
    void rolesOfCertificatesAreRead() {
        assertEquals(Optional.of("saga-executor"), Tls.role("spiffe://goconductor/saga-executor"));
        assertEquals(Optional.of("worker"), Tls.role("spiffe://other/worker/payments"));
        for (String name : List.of("spiffe://goconductor/unknown", "https://api-gateway", "spiffe:", "::")) {
            assertEquals(Optional.empty(), Tls.role(name), name);
        }
    }

    @Test
    void cancelledAttemptSaysWhy() throws InterruptedException {
        Attempt attempt = new Attempt("shop", Task.getDefaultInstance(), System.nanoTime(), () -> {});
        attempt.sleep(Duration.ofMillis(1));
        attempt.throwIfCancelled();
        attempt.cancel(CancelReason.CANCELLED, "the saga rolls back");
        boolean[] called = new boolean[1];
        attempt.onCancel(() -> called[0] = true);
        assertTrue(called[0] && attempt.isCancelled());
        assertEquals(Optional.of(CancelReason.CANCELLED), attempt.cancelReason());
        assertEquals("the saga rolls back",
                assertThrows(AttemptCancelledException.class, () -> attempt.sleep(Duration.ofMinutes(1))).getMessage());
    }

    @Test
    void answerToAProbeHasTheFormOfTheContract() throws IOException {
        assertEquals("{\"outcome\":\"done\",\"output\":7}", Codec.encode(ProbeAnswer.done(7)));
        assertEquals("{\"outcome\":\"not_done\"}", Codec.encode(ProbeAnswer.notDone()));
        assertEquals("{\"outcome\":\"unknown\"}", Codec.encode(ProbeAnswer.unknown()));
    }
}
