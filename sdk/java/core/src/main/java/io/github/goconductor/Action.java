package io.github.goconductor;

/**
 * A typed action.
 *
 * @param <I> the type of the input
 * @param <O> the type of the output
 */
@FunctionalInterface
public interface Action<I, O> {
    /**
     * Runs one attempt.
     *
     * @param attempt the attempt
     * @param input the input of the step
     * @return the output of the step
     * @throws Exception if the attempt failed; {@link ActionException} states what its outcome is
     */
    O run(Attempt attempt, I input) throws Exception;
}
