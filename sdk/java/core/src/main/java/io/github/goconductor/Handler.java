package io.github.goconductor;

/** Runs an action: it converts the JSON of the input to the JSON of the output. */
@FunctionalInterface
public interface Handler {
    /**
     * Runs one attempt.
     *
     * @param attempt the attempt
     * @param input the input as JSON
     * @return the output as JSON; null means the JSON {@code null}
     * @throws Exception if the attempt failed; {@link ActionException} states what its outcome is
     */
    String handle(Attempt attempt, String input) throws Exception;
}
