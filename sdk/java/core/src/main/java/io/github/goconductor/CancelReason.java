package io.github.goconductor;

/** The reason why an attempt was cancelled. */
public enum CancelReason {
    /** The deadline of the attempt passed. */
    DEADLINE_EXCEEDED,
    /** The result is no longer needed: the attempt timed out, or the saga rolls back. An effect is compensated. */
    CANCELLED,
    /** The connection to the executor was lost, or the worker was closed. The attempt is repeated. */
    STREAM_LOST
}
