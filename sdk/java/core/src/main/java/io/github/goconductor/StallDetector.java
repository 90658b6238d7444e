package io.github.goconductor;

import java.util.concurrent.TimeUnit;

/**
 * Notices that the process was suspended, such as by SIGSTOP or by the freeze of a virtual machine. A task that waited in
 * the socket meanwhile seems to have arrived later than it did, so that the deadline by the monotonic clock would be too
 * late. A task that was sent after the stall keeps all of its time. All times are those of {@link System#nanoTime()}.
 *
 * <p>The SDKs of all languages have the same rule, and their tests the same cases.
 */
final class StallDetector {
    /** The interval at which the detector compares clocks. */
    static final long INTERVAL = TimeUnit.MILLISECONDS.toNanos(100);
    /** The shortest time without progress that counts as a stall. */
    private static final long MIN_STALL = TimeUnit.MILLISECONDS.toNanos(300);
    /** How long after a stall a message may be one that the flow control of the stream held back meanwhile. */
    private static final long HELD_BACK = TimeUnit.MILLISECONDS.toNanos(100);

    /** The last stall. */
    private record Stall(long began, long ended) {}

    private long lastTick;
    private Stall stall;

    StallDetector(long now) {
        lastTick = now;
    }

    synchronized void tick(long now) {
        if (now - lastTick >= MIN_STALL) {
            stall = new Stall(lastTick, now);
        }
        lastTick = now;
    }

    /** Returns how long ago a message that is received now may have arrived. */
    synchronized long delay(long now) {
        // A message that is received later was sent after the stall, unless another one has begun.
        long since = stall != null && now - stall.ended < HELD_BACK ? stall.began : lastTick;
        long age = now - since;
        return age >= MIN_STALL ? age : 0;
    }
}
