package io.github.goconductor;

import java.util.concurrent.CompletionStage;

/**
 * A typed action whose output arrives later.
 *
 * @param <I> the type of the input
 * @param <O> the type of the output
 */
@FunctionalInterface
public interface AsyncAction<I, O> {
    /**
     * Begins one attempt. The stage is cancelled if the attempt is cancelled and the stage is a
     * {@link java.util.concurrent.CompletableFuture}.
     *
     * @param attempt the attempt
     * @param input the input of the step
     * @return the stage that ends with the output of the step
     * @throws Exception if the attempt failed; {@link ActionException} states what its outcome is
     */
    CompletionStage<O> run(Attempt attempt, I input) throws Exception;
}
