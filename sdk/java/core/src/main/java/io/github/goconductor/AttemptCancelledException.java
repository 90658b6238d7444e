package io.github.goconductor;

import java.util.concurrent.CancellationException;

/** The attempt was cancelled. Its outcome is unknown. */
public final class AttemptCancelledException extends CancellationException {
    private static final long serialVersionUID = 1;

    /** The reason. */
    private final CancelReason reason;

    AttemptCancelledException(CancelReason reason, String message) {
        super(message);
        this.reason = reason;
    }

    /**
     * Returns the reason.
     *
     * @return the reason
     */
    public CancelReason reason() {
        return reason;
    }
}
