package io.github.goconductor.testkit;

import io.github.goconductor.ActionException;
import io.github.goconductor.Attempt;
import io.github.goconductor.Handler;
import java.util.Locale;
import java.util.concurrent.CompletableFuture;

/** A fault of a participant. */
public enum Fault {
    /** The participant refuses. The action is not called. */
    REFUSE,
    /** The participant reports a retryable failure. The action is not called. */
    FAIL,
    /** The action is called, and the participant does not know its outcome. */
    UNKNOWN,
    /** The action is called, and the worker crashes before its outcome is sent. */
    CRASH,
    /** The action is called twice with the same idempotency key. */
    DUPLICATE,
    /** The action is called, and its outcome is not sent before the deadline. */
    TIME_OUT;

    /** The code of injected failures. */
    private static final String CODE = "INJECTED";

    /** Runs an attempt with the fault. */
    String apply(Handler action, Attempt attempt, String input, Runnable crash) throws Exception {
        String message = name().toLowerCase(Locale.ROOT) + " at attempt " + attempt.number() + " of " + attempt.step();
        switch (this) {
            case REFUSE -> throw ActionException.refused(CODE, message);
            case FAIL -> throw ActionException.retryable(CODE, message);
            case UNKNOWN -> {
                action.handle(attempt, input);
                throw ActionException.unknown(CODE, message);
            }
            case DUPLICATE -> {
                action.handle(attempt, input);
                return action.handle(attempt, input);
            }
            default -> {
                action.handle(attempt, input);
                if (this == CRASH) {
                    crash.run();
                }
                CompletableFuture<Void> cancelled = new CompletableFuture<>();
                attempt.onCancel(() -> cancelled.complete(null));
                cancelled.join();
                attempt.throwIfCancelled();
                throw new IllegalStateException("the attempt was not cancelled");
            }
        }
    }
}
