package io.github.goconductor;

import com.fasterxml.jackson.databind.JavaType;
import java.util.Optional;
import java.util.function.Supplier;

/** One attempt of a step of a {@link Workflow}. */
public final class StepContext {
    private final Attempt attempt;
    private String output = "null";

    StepContext(Attempt attempt) {
        this.attempt = attempt;
    }

    /**
     * Returns the attempt.
     *
     * @return the attempt
     */
    public Attempt attempt() {
        return attempt;
    }

    /**
     * Returns the input of the workflow. An input of another form is an unknown outcome, because the step may have had an
     * effect before. A step of {@link WorkflowStep#typed} is refused instead, because its input is decoded before its function
     * is called.
     *
     * @param <T> the type
     * @param type the class that the input is converted to
     * @return the input
     * @throws ActionException an unknown outcome with the code {@code BAD_INPUT} if the input has another form
     */
    public <T> T input(Class<T> type) {
        JavaType as = Codec.type(type);
        if (attempt.operation() == Operation.EXECUTE) {
            return decoded(() -> Codec.<T>input(attempt.rawInput(), as));
        }
        return decoded(() -> Codec.<T, Object>undo(attempt.rawInput(), as, Codec.type(Object.class)).input());
    }

    /**
     * Returns the output of the step, in the function that compensates it.
     *
     * @param <T> the type
     * @param type the class that the output is converted to
     * @return the output; empty if it is unknown whether the step took effect, or if the output is null
     * @throws ActionException an unknown outcome with the code {@code BAD_INPUT} if the output has another form
     */
    public <T> Optional<T> output(Class<T> type) {
        if (attempt.operation() == Operation.EXECUTE) {
            throw GoConductorException.misuse("output() was called in the function that executes the step "
                    + attempt.step() + ": only the function that compensates a step has an output");
        }
        return decoded(() -> Codec.<Object, T>undo(attempt.rawInput(), Codec.type(Object.class), Codec.type(type)).output());
    }

    /** Decodes a value in a function of a step. A refusal would claim that the function had no effect. */
    private static <T> T decoded(Supplier<T> decode) {
        try {
            return decode.get();
        } catch (ActionException refused) {
            throw ActionException.unknown(refused.code(), refused.description()).withCause(refused.getCause());
        }
    }

    /**
     * Sets the output of the step.
     *
     * @param value the value, which is converted to JSON
     * @throws ActionException an unknown outcome with the code {@code BAD_OUTPUT} if the value cannot be converted
     */
    public void setOutput(Object value) {
        output = Codec.output(value);
    }

    String encodedOutput() {
        return output;
    }
}
