package io.github.goconductor;

import io.github.goconductor.v1.Task;
import java.time.Duration;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalLong;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;

/** One attempt of one side of one step. It is safe for concurrent use. */
public final class Attempt {
    private static final ThreadLocal<Attempt> CURRENT = new ThreadLocal<>();

    private final String service;
    private final Task task;
    private final String input;
    private final Operation operation;
    private final long deadline;
    private final Runnable beat;
    /** Ends exceptionally when the attempt is cancelled, and normally when it has ended. */
    private final CompletableFuture<Void> end = new CompletableFuture<>();

    Attempt(String service, Task task, long deadline, Runnable beat) {
        this.service = service;
        this.task = task;
        this.input = task.getInputJson().isEmpty() ? "null" : task.getInputJson();
        this.operation = task.getOperation() == io.github.goconductor.v1.Operation.OPERATION_COMPENSATE
                ? Operation.COMPENSATE : Operation.EXECUTE;
        this.deadline = deadline;
        this.beat = beat;
    }

    /**
     * Returns the attempt that the current thread runs.
     *
     * @return the attempt; empty in a thread that runs no action
     */
    public static Optional<Attempt> current() {
        return Optional.ofNullable(CURRENT.get());
    }

    static void setCurrent(Attempt attempt) {
        if (attempt == null) {
            CURRENT.remove();
        } else {
            CURRENT.set(attempt);
        }
    }

    /**
     * Returns the idempotency key: the same for every attempt of this side of this step, and different from all other keys.
     *
     * @return the key
     */
    public String key() {
        return task.getIdempotencyKey();
    }

    /**
     * Returns the id of the workflow.
     *
     * @return the id
     */
    public String workflowId() {
        return task.getWorkflowId();
    }

    /**
     * Returns the name of the service.
     *
     * @return the name
     */
    public String service() {
        return service;
    }

    /**
     * Returns the name of the action.
     *
     * @return the name
     */
    public String action() {
        return task.getAction();
    }

    /**
     * Returns the name of the step in the definition.
     *
     * @return the name
     */
    public String step() {
        return task.getStep();
    }

    /**
     * Returns the side of the step.
     *
     * @return the side
     */
    public Operation operation() {
        return operation;
    }

    /**
     * Returns the number of the attempt.
     *
     * @return the number, from 1
     */
    public int number() {
        return task.getAttempt();
    }

    /**
     * Returns the time until the deadline of the attempt, by the monotonic clock.
     *
     * @return the time; 0 after the deadline
     */
    public Duration timeLeft() {
        return Duration.ofNanos(Math.max(0, deadline - System.nanoTime()));
    }

    /**
     * Returns the W3C trace context of the attempt, the parent of spans.
     *
     * @return the {@code traceparent}; empty if there is none
     */
    public String traceparent() {
        return task.getTraceparent();
    }

    /**
     * Returns the W3C tracestate that belongs to {@link #traceparent()}.
     *
     * @return the {@code tracestate}; empty if there is none
     */
    public String tracestate() {
        return task.getTracestate();
    }

    /**
     * Returns the fencing token of a lock.
     *
     * @param key the key of the lock
     * @return the token, an unsigned number; empty if the workflow does not hold the lock
     */
    public OptionalLong lockToken(String key) {
        Long token = task.getLockTokensMap().get(key);
        return token == null ? OptionalLong.empty() : OptionalLong.of(token);
    }

    /**
     * Returns the fencing tokens of the locks that the workflow holds.
     *
     * @return the tokens, unsigned numbers, by key
     */
    public Map<String, Long> lockTokens() {
        return task.getLockTokensMap();
    }

    /**
     * Returns the maximum time between two heartbeats.
     *
     * @return the time; 0 if the step has no heartbeat timeout
     */
    public Duration heartbeatTimeout() {
        return Wire.duration(task.getHeartbeatTimeout());
    }

    /**
     * Sends a heartbeat. If the step has a {@code timeout.heartbeat}, an attempt without a heartbeat for that time ends
     * before its deadline, with an unknown outcome.
     */
    public void heartbeat() {
        if (!heartbeatTimeout().isZero()) {
            beat.run();
        }
    }

    /**
     * Returns the JSON that the action received. That of a compensation is <code>{"input": …, "output": …}</code>, unless
     * the definition sets another.
     *
     * @return the JSON
     */
    public String rawInput() {
        return input;
    }

    /**
     * Returns whether the attempt was cancelled. A cancelled attempt should stop. Its outcome is unknown unless it says
     * otherwise.
     *
     * @return true if it was
     */
    public boolean isCancelled() {
        return end.isCompletedExceptionally();
    }

    /**
     * Throws an exception if the attempt was cancelled.
     *
     * @throws AttemptCancelledException with the reason
     */
    public void throwIfCancelled() {
        AttemptCancelledException cause = cause();
        if (cause != null) {
            throw cause;
        }
    }

    /**
     * Returns the reason why the attempt was cancelled.
     *
     * @return the reason; empty if it was not cancelled
     */
    public Optional<CancelReason> cancelReason() {
        return Optional.ofNullable(cause()).map(AttemptCancelledException::reason);
    }

    /**
     * Runs an action when the attempt is cancelled, or at once if it was. It must not block.
     *
     * @param action the action, for example one that closes a connection
     */
    public void onCancel(Runnable action) {
        end.whenComplete((none, failure) -> {
            if (failure != null) {
                action.run();
            }
        });
    }

    /**
     * Waits, and ends early if the attempt is cancelled.
     *
     * @param duration the duration
     * @throws AttemptCancelledException if the attempt was cancelled
     * @throws InterruptedException if the thread was interrupted
     */
    public void sleep(Duration duration) throws InterruptedException {
        try {
            end.get(Wire.nanos(duration), TimeUnit.NANOSECONDS);
        } catch (TimeoutException e) {
            // The duration has passed.
        } catch (ExecutionException | java.util.concurrent.CancellationException e) {
            throwIfCancelled();
        }
    }

    private AttemptCancelledException cause() {
        if (!end.isCompletedExceptionally()) {
            return null;
        }
        try {
            end.getNow(null);
            return null;
        } catch (AttemptCancelledException e) {
            // A new exception, because that of the future has the stack of another thread.
            return new AttemptCancelledException(e.reason(), e.getMessage());
        }
    }

    CompletableFuture<Void> end() {
        return end;
    }

    void cancel(CancelReason reason, String message) {
        end.completeExceptionally(new AttemptCancelledException(reason, message));
    }
}
