package io.github.goconductor.inbox;

import io.github.goconductor.Json;

/**
 * The decision on a request.
 *
 * @param verdict the decision
 * @param output for a repeat, the stored output; for the first compensate, the output of the execute; otherwise the JSON
 *     {@code null}
 */
public record Decision(Verdict verdict, Json output) {}
