package io.github.goconductor;

import java.time.Duration;
import java.time.Instant;
import java.util.Map;
import java.util.Optional;

/**
 * The definition that a schedule starts, and its due times. Either {@code cron} or {@code every} is set.
 *
 * @param definition the name of the definition
 * @param version a version of the definition; 0 means the newest one at each start
 * @param cron 5 fields, 6 with the seconds first, or a name such as {@code @daily}; empty for an interval
 * @param timezone the IANA name of the time zone of the pattern; empty means UTC
 * @param every an interval of at least one second; 0 for a pattern
 * @param anchor a due time of the interval; empty means 1970-01-01T00:00:00Z
 * @param overlap the policy while a workflow of the schedule is running
 * @param catchUp the age up to which missed due times are started; 0 means one hour
 * @param input the input, which is converted to JSON; null means {@code {}}. The text <code>${ schedule.time }</code> stands
 *     for the due time
 * @param labels the labels of the workflows
 */
public record ScheduleSpec(
        String definition, int version, String cron, String timezone, Duration every, Optional<Instant> anchor,
        Overlap overlap, Duration catchUp, Object input, Map<String, String> labels) {

    /** The policy for a due time while a workflow of the schedule is running. */
    public enum Overlap {
        /** The due time is skipped. */
        SKIP,
        /** One due time waits for the end of the workflow. */
        BUFFER_ONE,
        /** Workflows run at the same time. */
        ALLOW,
        /** The running workflow is cancelled. */
        CANCEL_OTHER
    }

    /**
     * Copies the labels.
     *
     * @param definition the name of the definition
     * @param version a version of the definition
     * @param cron 5 fields, 6 with the seconds first, or a name such as {@code @daily}
     * @param timezone the IANA name of the time zone of the pattern
     * @param every an interval of at least one second
     * @param anchor a due time of the interval
     * @param overlap the policy while a workflow of the schedule is running
     * @param catchUp the age up to which missed due times are started
     * @param input the input, which is converted to JSON
     * @param labels the labels of the workflows
     */
    public ScheduleSpec {
        labels = Map.copyOf(labels);
    }

    /**
     * Returns a schedule with a pattern.
     *
     * @param definition the name of the definition
     * @param cron the pattern
     * @return the schedule
     */
    public static ScheduleSpec cron(String definition, String cron) {
        return new ScheduleSpec(definition, 0, cron, "", Duration.ZERO, Optional.empty(), Overlap.SKIP, Duration.ZERO, null,
                Map.of());
    }

    /**
     * Returns a schedule with an interval.
     *
     * @param definition the name of the definition
     * @param every the interval, at least one second
     * @return the schedule
     */
    public static ScheduleSpec every(String definition, Duration every) {
        return new ScheduleSpec(definition, 0, "", "", every, Optional.empty(), Overlap.SKIP, Duration.ZERO, null, Map.of());
    }

    /**
     * Returns the schedule with an input.
     *
     * @param value the input, which is converted to JSON
     * @return the schedule
     */
    public ScheduleSpec withInput(Object value) {
        return new ScheduleSpec(definition, version, cron, timezone, every, anchor, overlap, catchUp, value, labels);
    }

    /**
     * Returns the schedule with a time zone of its pattern.
     *
     * @param zone the IANA name
     * @return the schedule
     */
    public ScheduleSpec withTimezone(String zone) {
        return new ScheduleSpec(definition, version, cron, zone, every, anchor, overlap, catchUp, input, labels);
    }

    /**
     * Returns the schedule with a policy.
     *
     * @param policy the policy while a workflow of the schedule is running
     * @return the schedule
     */
    public ScheduleSpec withOverlap(Overlap policy) {
        return new ScheduleSpec(definition, version, cron, timezone, every, anchor, policy, catchUp, input, labels);
    }

    /**
     * Returns the schedule with a version of the definition.
     *
     * @param number the version, from 1; 0 means the newest one at each start
     * @return the schedule
     */
    public ScheduleSpec withVersion(int number) {
        return new ScheduleSpec(definition, number, cron, timezone, every, anchor, overlap, catchUp, input, labels);
    }

    /**
     * Returns the schedule with a due time of its interval.
     *
     * @param time the due time
     * @return the schedule
     */
    public ScheduleSpec withAnchor(Instant time) {
        return new ScheduleSpec(definition, version, cron, timezone, every, Optional.of(time), overlap, catchUp, input,
                labels);
    }

    /**
     * Returns the schedule with an age up to which missed due times are started.
     *
     * @param age the age; 0 means one hour
     * @return the schedule
     */
    public ScheduleSpec withCatchUp(Duration age) {
        return new ScheduleSpec(definition, version, cron, timezone, every, anchor, overlap, age, input, labels);
    }

    /**
     * Returns the schedule with labels of its workflows.
     *
     * @param values the labels
     * @return the schedule
     */
    public ScheduleSpec withLabels(Map<String, String> values) {
        return new ScheduleSpec(definition, version, cron, timezone, every, anchor, overlap, catchUp, input, values);
    }

    io.github.goconductor.v1.ScheduleSpec wire() {
        io.github.goconductor.v1.ScheduleSpec.Builder wire = io.github.goconductor.v1.ScheduleSpec.newBuilder()
                .setDefinition(definition).setVersion(Math.max(0, version)).setCron(cron).setTimezone(timezone)
                .setOverlap(io.github.goconductor.v1.ScheduleOverlap.valueOf("SCHEDULE_OVERLAP_" + overlap.name()))
                .setInputJson(input == null ? "" : Codec.argument(input, "input")).putAllLabels(labels);
        if (every.compareTo(Duration.ZERO) > 0) {
            wire.setEvery(Wire.duration(every));
        }
        if (catchUp.compareTo(Duration.ZERO) > 0) {
            wire.setCatchUp(Wire.duration(catchUp));
        }
        anchor.ifPresent(each -> wire.setAnchor(Wire.timestamp(each)));
        return wire.build();
    }

    static ScheduleSpec of(io.github.goconductor.v1.ScheduleSpec wire) {
        String policy = Wire.name(wire.getOverlap(), "SCHEDULE_OVERLAP_");
        Overlap overlap = Overlap.SKIP;
        for (Overlap each : Overlap.values()) {
            overlap = each.name().equals(policy) ? each : overlap;
        }
        return new ScheduleSpec(wire.getDefinition(), wire.getVersion(), wire.getCron(), wire.getTimezone(),
                Wire.duration(wire.getEvery()), Wire.instant(wire.hasAnchor(), wire.getAnchor()), overlap,
                Wire.duration(wire.getCatchUp()), new Json(wire.getInputJson()), wire.getLabelsMap());
    }
}
