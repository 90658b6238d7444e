package io.github.goconductor;

import java.time.Duration;

/**
 * A step of a {@link Workflow}: a function that executes it and a function that compensates it.
 *
 * @param name the title; "Process Payment" becomes the step {@code process_payment}
 * @param execute executes the step
 * @param compensate undoes the step; null means that the step has nothing to undo
 * @param retry the retry policy of {@code execute}
 * @param timeout the limit of one attempt; 0 means the default of the engine, 30 seconds
 */
public record WorkflowStep(
        String name, StepFunction execute, StepFunction compensate, RetryPolicy retry, Duration timeout) {
    /**
     * Returns a step with the default policy.
     *
     * @param name the title
     * @param execute executes the step
     * @param compensate undoes the step; it must succeed if there is nothing to undo
     */
    public WorkflowStep(String name, StepFunction execute, StepFunction compensate) {
        this(name, execute, compensate, RetryPolicy.DEFAULT, Duration.ZERO);
    }

    /**
     * Returns a step of typed functions. The compensation receives the input of the workflow and the output of the step.
     *
     * @param <I> the type of the input of the workflow
     * @param <O> the type of the output of the step
     * @param name the title
     * @param input the class of the input of the workflow
     * @param output the class of the output of the step
     * @param execute executes the step
     * @param compensate undoes the step; null means that the step has nothing to undo
     * @return the step
     */
    public static <I, O> WorkflowStep typed(
            String name, Class<I> input, Class<O> output,
            Action<? super I, ? extends O> execute, Compensation<I, O> compensate) {
        StepFunction undo = compensate == null ? null : step -> compensate.run(step.attempt(),
                Codec.undo(step.attempt().rawInput(), Codec.type(input), Codec.type(output)));
        // An input of another form is refused, because the function is not called.
        return new WorkflowStep(name, step -> step.setOutput(execute.run(step.attempt(),
                Codec.<I>input(step.attempt().rawInput(), Codec.type(input)))), undo);
    }

    /**
     * Returns the step with a retry policy.
     *
     * @param policy the policy
     * @return the step
     */
    public WorkflowStep withRetry(RetryPolicy policy) {
        return new WorkflowStep(name, execute, compensate, policy, timeout);
    }

    /**
     * Returns the step with a limit of one attempt.
     *
     * @param limit the limit
     * @return the step
     */
    public WorkflowStep withTimeout(Duration limit) {
        return new WorkflowStep(name, execute, compensate, retry, limit);
    }
}
