package io.github.goconductor;

/** Executes or compensates a step of a {@link Workflow}. */
@FunctionalInterface
public interface StepFunction {
    /**
     * Runs one attempt.
     *
     * @param step the attempt, with the input of the workflow and the output of the step
     * @throws Exception if the attempt failed; {@link ActionException} states what its outcome is
     */
    void run(StepContext step) throws Exception;
}
