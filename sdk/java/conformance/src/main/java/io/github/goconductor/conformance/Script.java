package io.github.goconductor.conformance;

import com.fasterxml.jackson.annotation.JsonProperty;
import com.fasterxml.jackson.databind.JsonNode;
import io.github.goconductor.ActionException;
import io.github.goconductor.Attempt;
import io.github.goconductor.AttemptCancelledException;
import io.github.goconductor.Handler;
import io.github.goconductor.Json;
import java.io.IOException;
import java.time.Duration;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.locks.LockSupport;

/** The behaviour of actions. */
final class Script {
    /** One step of a script. One of its fields is set. */
    record Instruction(
            JsonNode done, boolean echo, @JsonProperty("output_bytes") int outputBytes,
            Failure retry, Failure refuse, Failure unknown, String error, String panic, InboxStep inbox,
            @JsonProperty("sleep_ms") int sleepMs, @JsonProperty("heartbeat_ms") int heartbeatMs,
            @JsonProperty("await_cancel") boolean awaitCancel, String gate, boolean detached, boolean die) {}

    record Failure(String code, String message, @JsonProperty("after_ms") int afterMs, JsonNode detail) {}

    /** Die ends the process by SIGKILL after the commit. The answer is "lost" if the attempt ends unknown after it. */
    record InboxStep(JsonNode output, boolean die, String answer) {}

    /** An error of the language that says nothing about the outcome. */
    private static final class PlainException extends Exception {
        private static final long serialVersionUID = 1;

        PlainException(String message) {
            super(message);
        }
    }

    private final Driver driver;

    Script(Driver driver) {
        this.driver = driver;
    }

    /** Returns the handler of an action. It reports each call before and after the script, unless quiet. */
    Handler handler(List<List<Instruction>> scripts) {
        return (attempt, input) -> {
            List<Instruction> script = scripts.get(Math.min(attempt.number(), scripts.size()) - 1);
            if (driver.quiet()) {
                return run(attempt, script, input);
            }
            Output.write(Output.object(
                    "event", "call", "action", attempt.action(), "step", attempt.step(),
                    "workflow_id", attempt.workflowId(), "operation", attempt.operation().toString(),
                    "attempt", attempt.number(), "key", key(attempt), "input", new Json(input),
                    "time_left_ms", attempt.timeLeft().toMillis(), "traceparent", attempt.traceparent(),
                    "heartbeat_timeout_ms", attempt.heartbeatTimeout().toMillis(), "lock_tokens", attempt.lockTokens()));
            try {
                String output = run(attempt, script, input);
                returned(attempt, "done", "");
                return output;
            } catch (Exception | AssertionError e) {
                ActionException outcome = ActionException.of(e);
                returned(attempt, outcome.kind().name().toLowerCase(java.util.Locale.ROOT), outcome.code());
                throw e;
            }
        };
    }

    private static void returned(Attempt attempt, String outcome, String code) {
        Output.write(Output.object("event", "returned", "action", attempt.action(), "attempt", attempt.number(),
                "outcome", outcome, "code", code));
    }

    /** Returns the idempotency key. The driver that is broken in this way has a new one for each attempt. */
    private String key(Attempt attempt) {
        if (!driver.broken().equals("new-key-on-retry") || attempt.number() == 1) {
            return attempt.key();
        }
        int slash = attempt.key().indexOf('/');
        return attempt.key().substring(0, slash) + "x" + System.nanoTime() + attempt.key().substring(slash);
    }

    private String run(Attempt attempt, List<Instruction> script, String input) throws Exception {
        boolean detached = false;
        for (Instruction step : script) {
            detached |= step.detached;
            if (step.sleepMs > 0) {
                sleep(attempt, step, detached);
            } else if (step.gate != null) {
                CompletableFuture<Void> gate = driver.gate(step.gate);
                CompletableFuture<Void> wait = gate.copy();
                if (!detached) {
                    attempt.onCancel(() -> wait.complete(null));
                }
                wait.join();
            } else if (step.awaitCancel) {
                awaitCancel(attempt);
            } else if (step.die) {
                die();
            } else if (!step.detached) {
                return end(attempt, step, input);
            }
        }
        throw new IllegalStateException("the script has no end");
    }

    private static void awaitCancel(Attempt attempt) {
        long began = System.nanoTime();
        CompletableFuture<Void> cancelled = new CompletableFuture<>();
        attempt.onCancel(() -> cancelled.complete(null));
        cancelled.join();
        Output.write(Output.object("event", "cancelled", "action", attempt.action(), "attempt", attempt.number(),
                "after_ms", Duration.ofNanos(System.nanoTime() - began).toMillis(),
                "time_left_ms", attempt.timeLeft().toMillis()));
    }

    /** Runs the last instruction of a script. */
    private String end(Attempt attempt, Instruction step, String input) throws Exception {
        if (step.done != null) {
            return text(step.done);
        } else if (step.echo) {
            return input;
        } else if (step.outputBytes > 0) {
            return '"' + "x".repeat(step.outputBytes - 2) + '"';
        } else if (step.retry != null) {
            throw ActionException.retryAfter(step.retry.code, step.retry.message, Duration.ofMillis(step.retry.afterMs));
        } else if (step.refuse != null) {
            ActionException refused = ActionException.refused(step.refuse.code, step.refuse.message);
            throw step.refuse.detail == null ? refused : refused.withDetail(step.refuse.detail);
        } else if (step.unknown != null) {
            throw ActionException.unknown(step.unknown.code, step.unknown.message);
        } else if (step.error != null) {
            throw new PlainException(step.error);
        } else if (step.panic != null) {
            throw new AssertionError(step.panic);
        } else if (step.inbox != null) {
            return driver.box().run(attempt, key(attempt), step.inbox);
        }
        throw new IllegalStateException("the script has no end");
    }

    /** Waits, and sends heartbeats unless the driver is broken in this way. */
    private void sleep(Attempt attempt, Instruction step, boolean detached) throws InterruptedException {
        long end = System.nanoTime() + Duration.ofMillis(step.sleepMs).toNanos();
        boolean beats = step.heartbeatMs > 0 && !driver.broken().equals("no-heartbeat");
        while (System.nanoTime() < end) {
            Duration left = Duration.ofNanos(end - System.nanoTime());
            Duration part = beats && left.toMillis() > step.heartbeatMs ? Duration.ofMillis(step.heartbeatMs) : left;
            if (detached) {
                Thread.sleep(part.toMillis());
            } else {
                try {
                    attempt.sleep(part);
                } catch (AttemptCancelledException e) {
                    return;
                }
            }
            if (beats) {
                attempt.heartbeat();
            }
        }
    }

    static String text(JsonNode node) throws IOException {
        return node == null ? "null" : Output.MAPPER.writeValueAsString(node);
    }

    /** Ends the process as a crash of the machine would. */
    static void die() throws IOException {
        new ProcessBuilder("kill", "-KILL", Long.toString(ProcessHandle.current().pid())).start();
        while (true) {
            LockSupport.park();
        }
    }
}
