package io.github.goconductor;

import java.util.concurrent.TimeUnit;

/**
 * Notices that the process was suspended, such as by SIGSTOP or by the freeze of a virtual machine. A task that waited in
 * the socket meanwhile seems to have arrived later than it did, so the deadline by the monotonic clock would be too
 * late. All times are those of {@link System#nanoTime()}.
 */
final class StallDetector {
    /** The interval at which the detector compares clocks. */
    static final long INTERVAL = TimeUnit.MILLISECONDS.toNanos(100);
    /** The shortest time without progress that counts as a stall. */
    private static final long MIN_STALL = TimeUnit.MILLISECONDS.toNanos(300);
    /** How long after a stall a message may be one that arrived during the stall. */
    private static final long BACKLOG = TimeUnit.SECONDS.toNanos(1);

    private long lastTick;
    private long length;
    private long ended;

    StallDetector(long now) {
        lastTick = now;
    }

    synchronized void tick(long now) {
        long gap = now - lastTick;
        if (gap >= MIN_STALL) {
            length = gap;
            ended = now;
        }
        lastTick = now;
    }

    /** Returns how long ago a message that is received now may have arrived. */
    synchronized long delay(long now) {
        long gap = now - lastTick;
        if (gap >= MIN_STALL) {
            return gap;
        }
        if (length > 0 && now - ended < BACKLOG) {
            // A message that was received before the stall has waited here, and not in the socket.
            return Math.max(0, length + now - ended);
        }
        return 0;
    }
}
