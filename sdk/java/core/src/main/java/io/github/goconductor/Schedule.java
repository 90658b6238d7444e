package io.github.goconductor;

import java.time.Instant;
import java.util.List;
import java.util.Locale;
import java.util.Optional;

/**
 * A schedule with its state.
 *
 * @param name the name
 * @param spec the definition that it starts, and its due times; the input is a {@link Json}
 * @param generation rises with each change by a user
 * @param paused whether it is paused
 * @param nextDue the next due time; empty while it is paused
 * @param lastDue the last due time; empty before the first
 * @param started the number of started workflows
 * @param skipped the number of due times that were skipped because a workflow was running
 * @param missed the number of due times that were too old when they were found
 * @param failed the number of due times whose start was refused
 * @param recent the newest workflows, newest first
 */
public record Schedule(
        String name, ScheduleSpec spec, long generation, boolean paused,
        Optional<Instant> nextDue, Optional<Instant> lastDue,
        long started, long skipped, long missed, long failed, List<Run> recent) {

    /**
     * A workflow of a schedule.
     *
     * @param workflowId the id of the workflow
     * @param due the due time, or the time of the trigger
     * @param kind {@code due}, {@code buffered}, {@code backfill} or {@code trigger}
     * @param status the status; empty in lists, and if the workflow is no longer retained
     */
    public record Run(String workflowId, Instant due, String kind, Optional<WorkflowStatus> status) {}

    static Schedule of(io.github.goconductor.v1.Schedule wire) {
        return new Schedule(wire.getName(), ScheduleSpec.of(wire.getSpec()), wire.getGeneration(), wire.hasPaused(),
                Wire.instant(wire.hasNextDue(), wire.getNextDue()), Wire.instant(wire.hasLastDue(), wire.getLastDue()),
                wire.getStarted(), wire.getSkipped(), wire.getMissed(), wire.getFailed(),
                wire.getRecentList().stream().map(Schedule::run).toList());
    }

    private static Run run(io.github.goconductor.v1.ScheduleRun run) {
        Optional<WorkflowStatus> status = run.getStatus().isEmpty() ? Optional.empty()
                : Optional.of(WorkflowStatus.of(run.getStatus().toUpperCase(Locale.ROOT)));
        return new Run(run.getWorkflowId(), Wire.instant(run.getDue()), run.getKind(), status);
    }
}
