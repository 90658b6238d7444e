package io.github.goconductor;

import java.util.OptionalLong;
import java.util.concurrent.TimeUnit;

/**
 * Whether tasks can still arrive on a stream. A task that arrives after the worker has closed the stream has an unknown
 * outcome, so that the worker closes it only when no task is on the way. All times are those of {@link System#nanoTime()}.
 */
final class DrainProgress {
    /**
     * How long tasks are accepted after the drain of either side, if the executor is of a release that does not acknowledge
     * drains. Such tasks were sent before the drain was received.
     */
    static final long GRACE = TimeUnit.MILLISECONDS.toNanos(200);

    /** The executor acknowledges the drain of the worker, and sends no task after its own. */
    private final boolean acknowledges;
    private boolean begun;
    private OptionalLong end = OptionalLong.empty();

    DrainProgress(boolean acknowledges) {
        this.acknowledges = acknowledges;
    }

    /** Records that the worker has sent its drain. */
    void workerDrains(long now) {
        begun = true;
        if (!acknowledges && end.isEmpty()) {
            end = OptionalLong.of(now + GRACE);
        }
    }

    /** Records the drain of the executor. */
    void executorDrains(long now) {
        begun = true;
        if (end.isEmpty()) {
            end = OptionalLong.of(acknowledges ? now : now + GRACE);
        }
    }

    /** Records that the executor has acknowledged the drain of the worker. */
    void acknowledged(long now) {
        if (begun) {
            end = OptionalLong.of(now);
        }
    }

    /** Returns whether no task arrives any more. */
    boolean isComplete(long now) {
        return end.isPresent() && now - end.getAsLong() >= 0;
    }

    /** Returns how long tasks can still arrive; empty if this is not known. */
    OptionalLong left(long now) {
        return end.isPresent() ? OptionalLong.of(end.getAsLong() - now) : OptionalLong.empty();
    }
}
