package io.github.goconductor;

import java.util.Locale;

/** The side of a step. */
public enum Operation {
    /** Executes a step. */
    EXECUTE,
    /** Compensates a step. */
    COMPENSATE;

    /**
     * Returns the name in idempotency keys and in logs.
     *
     * @return {@code execute} or {@code compensate}
     */
    @Override
    public String toString() {
        return name().toLowerCase(Locale.ROOT);
    }
}
