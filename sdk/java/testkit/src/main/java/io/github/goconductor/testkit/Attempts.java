package io.github.goconductor.testkit;

import io.github.goconductor.Attempt;
import io.github.goconductor.Operation;

/**
 * The attempts of one side of a step at which a fault is injected.
 *
 * @param step the name of the step
 * @param operation the side of the step
 * @param first the first attempt, from 1
 * @param last the last attempt
 */
public record Attempts(String step, Operation operation, int first, int last) {
    /**
     * Returns the first attempt to execute a step.
     *
     * @param step the name of the step
     * @return the attempt
     */
    public static Attempts onExecute(String step) {
        return new Attempts(step, Operation.EXECUTE, 1, 1);
    }

    /**
     * Returns the first attempt to compensate a step.
     *
     * @param step the name of the step
     * @return the attempt
     */
    public static Attempts onCompensate(String step) {
        return new Attempts(step, Operation.COMPENSATE, 1, 1);
    }

    /**
     * Returns other attempts of the same side.
     *
     * @param from the first attempt, from 1
     * @param to the last attempt
     * @return the attempts
     */
    public Attempts numbers(int from, int to) {
        return new Attempts(step, operation, from, to);
    }

    /**
     * Returns every attempt of the same side.
     *
     * @return the attempts
     */
    public Attempts every() {
        return numbers(1, Integer.MAX_VALUE);
    }

    boolean matches(Attempt attempt) {
        return step.equals(attempt.step()) && operation == attempt.operation()
                && first <= attempt.number() && attempt.number() <= last;
    }
}
