package io.github.goconductor;

import java.util.Optional;

/**
 * The input of a compensation. A compensation for which the definition sets another input is added like an action.
 *
 * @param <I> the type of the input of the step
 * @param <O> the type of the output of the step
 * @param input the input of the step
 * @param output the output of the step; empty if it is unknown whether the step took effect, or if the output is null
 */
public record CompensationInput<I, O>(I input, Optional<O> output) {}
