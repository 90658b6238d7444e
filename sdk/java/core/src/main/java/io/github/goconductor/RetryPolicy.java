package io.github.goconductor;

import java.time.Duration;

/**
 * States how often and when an attempt is repeated. A field that is 0 has the default of the engine.
 *
 * @param maxAttempts the number of attempts
 * @param initial the delay after the first attempt
 * @param max the longest delay
 */
public record RetryPolicy(int maxAttempts, Duration initial, Duration max) {
    /** 5 attempts with the delays of the engine. */
    public static final RetryPolicy DEFAULT = new RetryPolicy(0, Duration.ZERO, Duration.ZERO);
}
