package io.github.goconductor.inbox;

/** The decision on a request. */
public enum Verdict {
    /** A first request. Do the work, then record its output. */
    FIRST,
    /** A repeated request. Do nothing, and respond with the stored output. */
    REPEAT,
    /** An execute that arrived after its compensate. Do nothing, and refuse it. */
    REFUSED,
    /** A compensate whose execute never arrived and will be refused. There is nothing to undo. */
    NOTHING
}
