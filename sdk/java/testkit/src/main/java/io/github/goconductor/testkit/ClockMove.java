package io.github.goconductor.testkit;

import io.github.goconductor.Json;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.time.Duration;
import java.time.temporal.ChronoUnit;
import java.util.Map;

/**
 * The response to a request to move the virtual clock.
 *
 * @param advanced the duration by which the clock was moved
 * @param result whether it was moved
 * @param due the rows and schedules that are due
 * @param inFlight the commands in flight, and the timers that fire
 */
public record ClockMove(Duration advanced, Result result, long due, long inFlight) {
    /** Whether the clock was moved. */
    public enum Result {
        /** It was moved. */
        ADVANCED,
        /** It was not moved, because work is due or in flight. */
        BUSY,
        /** It was not moved, because nothing waits for a time. */
        NOTHING_DUE
    }

    /** How long a request may take. The server waits up to five seconds until nothing is in flight. */
    private static final Duration TIMEOUT = Duration.ofSeconds(30);
    private static final int OK = 200;

    /**
     * Moves the clock to the next time that is due. The server waits some seconds until nothing is in flight.
     *
     * @param atMost the longest move; null if it has no limit
     */
    static ClockMove toNextDue(HttpClient client, String url, Duration atMost) {
        // In milliseconds, rounded up.
        String limit = atMost == null ? "" : ",\"at_most\":\"" + atMost.plusNanos(999_999).toMillis() + "ms\"";
        HttpRequest request = HttpRequest.newBuilder(URI.create(url + "/dev/clock/advance"))
                .header("Content-Type", "application/json")
                .timeout(TIMEOUT)
                .POST(HttpRequest.BodyPublishers.ofString("{\"to\":\"next\"" + limit + "}"))
                .build();
        HttpResponse<String> response;
        try {
            response = client.send(request, HttpResponse.BodyHandlers.ofString());
        } catch (IOException e) {
            throw new UncheckedIOException("the clock was not moved", e);
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            throw new IllegalStateException("the thread was interrupted while the clock was moved", e);
        }
        if (response.statusCode() != OK) {
            throw new IllegalStateException("the clock was not moved: " + response.statusCode() + ": " + response.body());
        }
        Map<?, ?> moved = new Json(response.body()).as(Map.class);
        Result result = switch (String.valueOf(moved.get("result"))) {
            case "advanced" -> Result.ADVANCED;
            case "nothing_due" -> Result.NOTHING_DUE;
            default -> Result.BUSY;
        };
        return new ClockMove(Duration.of(number(moved, "advanced_us"), ChronoUnit.MICROS), result, number(moved, "due"),
                number(moved, "in_flight"));
    }

    private static long number(Map<?, ?> moved, String field) {
        return Long.parseLong(String.valueOf(moved.get(field)));
    }

    /** Returns the error that the clock was not moved because of work. */
    IllegalStateException busy() {
        return new IllegalStateException("the clock was not moved: " + due + " rows are due and " + inFlight
                + " are in flight; does each service have a worker?");
    }
}
