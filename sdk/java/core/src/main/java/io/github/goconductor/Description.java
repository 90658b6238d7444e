package io.github.goconductor;

import io.github.goconductor.v1.Step;
import io.github.goconductor.v1.Workflow;
import java.time.Instant;
import java.util.List;
import java.util.Map;
import java.util.Optional;

/**
 * The state of a workflow.
 *
 * @param id the id
 * @param namespace the namespace
 * @param definition the name of the definition
 * @param version the version of the definition
 * @param status the status
 * @param cause the cause of the rollback: {@code STEP_FAILED}, {@code CANCELLED}, {@code TIMED_OUT}, {@code OPERATOR} or
 *     {@code PARENT}; empty if the workflow did not roll back
 * @param labels the labels
 * @param idempotencyKey the key of the start; empty if there is none
 * @param input the input; the JSON {@code null} in lists
 * @param output the output; the JSON {@code null} in lists and until the workflow has completed
 * @param failure the first failure; empty if no step failed
 * @param seq the number of the last event
 * @param createdAt the time of the start
 * @param endedAt the time of the end
 * @param deadline the time at which the workflow times out
 * @param steps the steps, in the order of the definition; empty in lists
 * @param waitingOn the reasons why the workflow makes no progress; empty in lists
 */
public record Description(
        String id, String namespace, String definition, int version, WorkflowStatus status, String cause,
        Map<String, String> labels, String idempotencyKey, Json input, Json output, Optional<Failure> failure, long seq,
        Instant createdAt, Optional<Instant> endedAt, Optional<Instant> deadline,
        List<StepDescription> steps, List<Waiting> waitingOn) {

    /**
     * The state of a step.
     *
     * @param name the name
     * @param title the title
     * @param kind {@code compensatable}, {@code pivot} or {@code retriable}
     * @param action the executing action, {@code service/action}
     * @param compensate the compensating action; empty if the step has no compensation
     * @param status a status such as {@code COMPLETED}, {@code FAILED}, {@code UNKNOWN} or {@code COMPENSATED}
     * @param attempts the number of attempts to execute the step
     * @param compensationAttempts the number of attempts to compensate the step
     * @param queuedAt the time at which the step was queued
     * @param startedAt the time of the first attempt
     * @param endedAt the time of the end
     * @param output the output; the JSON {@code null} if there is none
     * @param failure the failure; empty if the step did not fail
     */
    public record StepDescription(
            String name, String title, String kind, String action, String compensate, String status,
            int attempts, int compensationAttempts,
            Optional<Instant> queuedAt, Optional<Instant> startedAt, Optional<Instant> endedAt,
            Json output, Optional<Failure> failure) {}

    /**
     * A reason why a workflow makes no progress.
     *
     * @param kind a kind such as {@code NO_WORKER}, {@code IN_FLIGHT}, {@code BACKOFF} or {@code SIGNAL}
     * @param step the name of the step
     * @param since the time since which it waits
     * @param until the time at which it stops waiting
     * @param detail a description
     */
    public record Waiting(
            String kind, String step, Optional<Instant> since, Optional<Instant> until, String detail) {}

    /**
     * Returns a step.
     *
     * @param name the name of the step
     * @return the step; empty if the definition has no such step
     */
    public Optional<StepDescription> step(String name) {
        return steps.stream().filter(each -> each.name().equals(name)).findFirst();
    }

    static Description of(Workflow workflow) {
        return new Description(
                workflow.getId(), workflow.getNamespace(), workflow.getDefinition(), workflow.getVersion(),
                WorkflowStatus.of(Wire.name(workflow.getStatus(), "WORKFLOW_STATUS_")),
                Wire.name(workflow.getCause(), "ROLLBACK_CAUSE_"),
                workflow.getLabelsMap(), workflow.getIdempotencyKey(),
                new Json(workflow.getInputJson()), new Json(workflow.getOutputJson()),
                Failure.of(workflow.hasError(), workflow.getError()), workflow.getSeq(),
                Wire.instant(workflow.getCreatedAt()),
                Wire.instant(workflow.hasEndedAt(), workflow.getEndedAt()),
                Wire.instant(workflow.hasDeadline(), workflow.getDeadline()),
                workflow.getStepsList().stream().map(Description::step).toList(),
                workflow.getWaitingOnList().stream().map(Description::waiting).toList());
    }

    private static StepDescription step(Step step) {
        return new StepDescription(
                step.getName(), step.getTitle(), step.getKind(), step.getAction(), step.getCompensate(),
                Wire.name(step.getStatus(), "STEP_STATUS_"), step.getAttempts(), step.getCompensationAttempts(),
                Wire.instant(step.hasQueuedAt(), step.getQueuedAt()),
                Wire.instant(step.hasStartedAt(), step.getStartedAt()),
                Wire.instant(step.hasEndedAt(), step.getEndedAt()),
                new Json(step.getOutputJson()), Failure.of(step.hasError(), step.getError()));
    }

    private static Waiting waiting(io.github.goconductor.v1.Waiting waiting) {
        return new Waiting(
                Wire.name(waiting.getKind(), "WAITING_KIND_"), waiting.getStep(),
                Wire.instant(waiting.hasSince(), waiting.getSince()),
                Wire.instant(waiting.hasUntil(), waiting.getUntil()), waiting.getDetail());
    }
}
