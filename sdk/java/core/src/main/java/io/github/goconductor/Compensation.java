package io.github.goconductor;

/**
 * A typed compensation. It must succeed if there is nothing to undo.
 *
 * @param <I> the type of the input of the step
 * @param <O> the type of the output of the step
 */
@FunctionalInterface
public interface Compensation<I, O> {
    /**
     * Runs one attempt.
     *
     * @param attempt the attempt
     * @param undo the input and the output of the step
     * @throws Exception if the attempt failed; {@link ActionException} states what its outcome is
     */
    void run(Attempt attempt, CompensationInput<I, O> undo) throws Exception;
}
