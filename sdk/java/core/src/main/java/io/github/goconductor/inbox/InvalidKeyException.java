package io.github.goconductor.inbox;

/** A text is not an idempotency key of the operation. */
public final class InvalidKeyException extends IllegalArgumentException {
    private static final long serialVersionUID = 1;

    InvalidKeyException(String message) {
        super(message);
    }
}
