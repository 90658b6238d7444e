package io.github.goconductor;

import com.google.protobuf.Timestamp;
import java.time.Duration;
import java.time.Instant;
import java.util.Optional;
import java.util.concurrent.ThreadLocalRandom;

/** Conversions between messages and values. */
final class Wire {
    /** A duration whose multiples do not overflow. */
    private static final Duration MAX_NANOS = Duration.ofNanos(Long.MAX_VALUE / 4);

    private Wire() {}

    static Duration duration(com.google.protobuf.Duration duration) {
        return Duration.ofSeconds(duration.getSeconds(), duration.getNanos());
    }

    /** Returns a duration that can be added to a time of {@link System#nanoTime()}: at most 73 years. */
    static long nanos(Duration duration) {
        return duration.compareTo(MAX_NANOS) > 0 ? MAX_NANOS.toNanos() : duration.compareTo(MAX_NANOS.negated()) < 0
                ? -MAX_NANOS.toNanos() : duration.toNanos();
    }

    static com.google.protobuf.Duration duration(Duration duration) {
        return com.google.protobuf.Duration.newBuilder()
                .setSeconds(duration.getSeconds()).setNanos(duration.getNano()).build();
    }

    static Instant instant(Timestamp timestamp) {
        return Instant.ofEpochSecond(timestamp.getSeconds(), timestamp.getNanos());
    }

    static Optional<Instant> instant(boolean present, Timestamp timestamp) {
        return present ? Optional.of(instant(timestamp)) : Optional.empty();
    }

    static Timestamp timestamp(Instant instant) {
        return Timestamp.newBuilder().setSeconds(instant.getEpochSecond()).setNanos(instant.getNano()).build();
    }

    /** Returns the name of a value without its prefix. The unspecified value becomes empty. */
    static String name(Enum<?> value, String prefix) {
        String name = value.name();
        name = name.startsWith(prefix) ? name.substring(prefix.length()) : name;
        return name.equals("UNSPECIFIED") ? "" : name;
    }

    /** Returns a duration between half of the duration and the duration. */
    static long jitterMillis(long millis) {
        return millis / 2 + ThreadLocalRandom.current().nextLong(millis / 2 + 1);
    }
}
