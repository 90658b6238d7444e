package io.github.goconductor;

import com.fasterxml.jackson.annotation.JsonInclude;
import com.fasterxml.jackson.annotation.JsonValue;
import java.util.LinkedHashMap;
import java.util.Map;

/**
 * The answer to a probe: whether the operation of a step happened.
 *
 * @param <O> the type of the output of the step
 */
public final class ProbeAnswer<O> {
    private final String outcome;
    private final O output;

    private ProbeAnswer(String outcome, O output) {
        this.outcome = outcome;
        this.output = output;
    }

    /**
     * Answers that the operation happened.
     *
     * @param <O> the type of the output
     * @param output the output
     * @return the answer
     */
    public static <O> ProbeAnswer<O> done(O output) {
        return new ProbeAnswer<>("done", output);
    }

    /**
     * Answers that the operation did not happen, and that it will not.
     *
     * @param <O> the type of the output
     * @return the answer
     */
    public static <O> ProbeAnswer<O> notDone() {
        return new ProbeAnswer<>("not_done", null);
    }

    /**
     * Answers that the service does not know. The probe is repeated.
     *
     * @param <O> the type of the output
     * @return the answer
     */
    public static <O> ProbeAnswer<O> unknown() {
        return new ProbeAnswer<>("unknown", null);
    }

    @JsonValue
    @JsonInclude(JsonInclude.Include.ALWAYS)
    Map<String, Object> json() {
        Map<String, Object> fields = new LinkedHashMap<>();
        fields.put("outcome", outcome);
        if (outcome.equals("done")) {
            fields.put("output", output);
        }
        return fields;
    }
}
