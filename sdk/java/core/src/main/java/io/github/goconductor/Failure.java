package io.github.goconductor;

import java.util.Optional;

/**
 * A failure of a step.
 *
 * @param code the stable code of the participant, or of the engine
 * @param message the message for people
 * @param detail further details; the JSON {@code null} if there are none
 */
public record Failure(String code, String message, Json detail) {
    static Optional<Failure> of(boolean present, io.github.goconductor.v1.Failure failure) {
        return present
                ? Optional.of(new Failure(failure.getCode(), failure.getMessage(), new Json(failure.getDetailJson())))
                : Optional.empty();
    }
}
