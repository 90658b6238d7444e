package io.github.goconductor;

import java.time.Instant;

/**
 * An event of a workflow.
 *
 * @param seq the number of the event: from 1, without gaps
 * @param time the time
 * @param type a type such as {@code STEP_COMPLETED}
 * @param step the name of the step; empty if the event concerns no step
 * @param attempt the number of the attempt; 0 if the event concerns no attempt
 * @param detail the details; the JSON {@code null} if there are none
 * @param actor the user who caused the event; empty if there is none
 */
public record Event(long seq, Instant time, String type, String step, int attempt, Json detail, String actor) {
    static Event of(io.github.goconductor.v1.Event event) {
        return new Event(event.getSeq(), Wire.instant(event.getTime()), event.getType(), event.getStep(),
                event.getAttempt(), new Json(event.getDetailJson()), event.getActor());
    }
}
