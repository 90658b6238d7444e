package io.github.goconductor;

import java.util.Optional;

/**
 * The result of a workflow.
 *
 * @param status {@code COMPLETED}, {@code ROLLED_BACK} or {@code TERMINATED}
 * @param cause the cause of the rollback; empty if the workflow did not roll back
 * @param output the output; the JSON {@code null} unless the workflow completed
 * @param failure the first failure; empty if no step failed
 */
public record Result(WorkflowStatus status, String cause, Json output, Optional<Failure> failure) {}
