package io.github.goconductor;

import java.time.Duration;
import java.util.Collections;
import java.util.IdentityHashMap;
import java.util.Optional;
import java.util.Set;
import java.util.concurrent.CancellationException;
import java.util.concurrent.TimeoutException;

/** The exception of an action, with the outcome that it reports. */
public final class ActionException extends RuntimeException {
    private static final long serialVersionUID = 1;

    /** The kind of an exception. It determines how the saga proceeds. */
    public enum Kind {
        /** The action may have taken effect. */
        UNKNOWN,
        /** Nothing happened, and a retry may succeed. */
        RETRYABLE,
        /** Nothing happened, and a retry would not help. */
        REFUSED
    }

    /** The kind. */
    private final Kind kind;
    /** The code. */
    private final String code;
    /** The description, without the code. */
    private final String description;
    /** The details. */
    private final transient Object detail;
    /** The delay. */
    private final Duration after;

    private ActionException(Kind kind, String code, String description, Object detail, Duration after, Throwable cause) {
        super(description == null || description.isEmpty() ? code : code + ": " + description, cause);
        this.kind = kind;
        this.code = code == null ? "" : code;
        this.description = description == null ? "" : description;
        this.detail = detail;
        this.after = after;
    }

    /**
     * Returns an exception for an action that had no effect and may succeed later. The step is retried by its retry policy.
     *
     * @param code the stable code for programs, which {@code retry.on} of a definition can name
     * @param message the message for people
     * @return the exception
     */
    public static ActionException retryable(String code, String message) {
        return new ActionException(Kind.RETRYABLE, code, message, null, Duration.ZERO, null);
    }

    /**
     * Returns an exception like {@link #retryable}. The next attempt follows after the delay or later.
     *
     * @param code the stable code for programs
     * @param message the message for people
     * @param delay the minimum delay before the next attempt
     * @return the exception
     */
    public static ActionException retryAfter(String code, String message, Duration delay) {
        return new ActionException(Kind.RETRYABLE, code, message, null, delay, null);
    }

    /**
     * Returns an exception for an action that had no effect and cannot succeed. The saga rolls back.
     *
     * @param code the stable code for programs
     * @param message the message for people
     * @return the exception
     */
    public static ActionException refused(String code, String message) {
        return new ActionException(Kind.REFUSED, code, message, null, Duration.ZERO, null);
    }

    /**
     * Returns an exception for an action that may have taken effect. The step is retried with the same idempotency key, and
     * compensated if the saga rolls back.
     *
     * @param code the stable code for programs
     * @param message the message for people
     * @return the exception
     */
    public static ActionException unknown(String code, String message) {
        return new ActionException(Kind.UNKNOWN, code, message, null, Duration.ZERO, null);
    }

    /**
     * Returns the outcome that a failure of an action reports. The first {@code ActionException} in the chain of causes
     * applies. Every other failure reports an unknown outcome, because a claim that nothing happened would leave an effect
     * that no compensation undoes. Its code is {@code CANCELLED} or {@code DEADLINE_EXCEEDED} if the attempt was cancelled,
     * {@code PANICKED} for an {@link Error}, and {@code ERROR} for another exception.
     *
     * @param failure the failure
     * @return the outcome
     */
    public static ActionException of(Throwable failure) {
        String code = failure instanceof Error ? "PANICKED" : "ERROR";
        Set<Throwable> seen = Collections.newSetFromMap(new IdentityHashMap<>());
        for (Throwable each = failure; each != null && seen.add(each); each = each.getCause()) {
            if (each instanceof ActionException action) {
                return action;
            }
            if (each instanceof AttemptCancelledException cancelled) {
                code = cancelled.reason() == CancelReason.DEADLINE_EXCEEDED ? "DEADLINE_EXCEEDED" : "CANCELLED";
            } else if (each instanceof CancellationException || each instanceof InterruptedException) {
                code = "CANCELLED";
            } else if (each instanceof TimeoutException) {
                code = "DEADLINE_EXCEEDED";
            }
        }
        String message = failure.getMessage();
        return unknown(code, message == null ? failure.getClass().getName() : message).withCause(failure);
    }

    /**
     * Returns the kind.
     *
     * @return the kind
     */
    public Kind kind() {
        return kind;
    }

    /**
     * Returns the stable code for programs.
     *
     * @return the code
     */
    public String code() {
        return code;
    }

    /**
     * Returns the message for people, without the code.
     *
     * @return the message
     */
    public String description() {
        return description;
    }

    /**
     * Returns further details, which are converted to JSON. Only refusals have them.
     *
     * @return the details
     */
    public Optional<Object> detail() {
        return Optional.ofNullable(detail);
    }

    /**
     * Returns the minimum delay before the next attempt. Only retryable exceptions have it.
     *
     * @return the delay, or 0
     */
    public Duration after() {
        return after;
    }

    /**
     * Returns a copy of the exception with details.
     *
     * @param details the details
     * @return the copy
     */
    public ActionException withDetail(Object details) {
        return new ActionException(kind, code, description, details, after, getCause());
    }

    /**
     * Returns a copy of the exception with a cause.
     *
     * @param cause the cause
     * @return the copy
     */
    public ActionException withCause(Throwable cause) {
        return new ActionException(kind, code, description, detail, after, cause);
    }
}
