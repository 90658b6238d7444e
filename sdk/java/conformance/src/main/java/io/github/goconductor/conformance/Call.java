package io.github.goconductor.conformance;

import com.fasterxml.jackson.databind.JsonNode;
import io.github.goconductor.Applied;
import io.github.goconductor.Client;
import io.github.goconductor.Description;
import io.github.goconductor.Event;
import io.github.goconductor.Failure;
import io.github.goconductor.Handle;
import io.github.goconductor.Json;
import io.github.goconductor.Result;
import io.github.goconductor.Schedule;
import io.github.goconductor.ScheduleSpec;
import io.github.goconductor.StartOptions;
import io.github.goconductor.Watch;
import java.io.IOException;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;

/** The calls of the client. The results have the names of the REST API. */
final class Call {
    private Call() {}

    static Map<String, Object> run(Client client, Request request) throws IOException {
        Handle handle = client.workflow(or(request.workflow()));
        switch (request.call()) {
            case "apply" -> {
                Applied applied = client.apply(request.name(), request.definition());
                return Output.object("version", applied.version(), "created", applied.created());
            }
            case "start" -> {
                return start(client, request);
            }
            case "result" -> {
                Result result = handle.result();
                return Output.object("status", result.status(), "cause", result.cause(), "output", result.output(),
                        "error", failure(result.failure()));
            }
            case "describe" -> {
                return describe(handle.describe());
            }
            case "signal" -> {
                handle.signal(request.name(), json(request.input()));
                return Map.of();
            }
            case "cancel" -> {
                handle.cancel(or(request.reason()));
                return Map.of();
            }
            case "watch" -> {
                return watch(handle);
            }
            case "list" -> {
                // A small page, so that the pages are followed.
                List<String> ids = client.list(or(request.filter()), 2).map(Description::id).toList();
                return Output.object("ids", ids, "count", ids.size());
            }
            default -> {
                return schedule(client, request);
            }
        }
    }

    private static Map<String, Object> start(Client client, Request request) throws IOException {
        StartOptions options = request.input() == null
                ? StartOptions.defaults() : StartOptions.of(json(request.input()));
        if (request.key() != null) {
            options = options.withKey(request.key());
        }
        if (request.labels() != null) {
            for (Map.Entry<String, String> each : request.labels().entrySet()) {
                options = options.withLabel(each.getKey(), each.getValue());
            }
        }
        Handle started = client.start(request.name(), options);
        return Output.object("id", started.id(), "replayed", started.replayed());
    }

    private static Map<String, Object> watch(Handle handle) {
        List<String> types = new ArrayList<>();
        try (Watch events = handle.watch()) {
            for (Event event : events) {
                types.add(event.type());
                if (event.seq() != types.size()) {
                    throw new IllegalStateException("event " + types.size() + " has the number " + event.seq());
                }
            }
        }
        return Output.object("types", types);
    }

    private static Map<String, Object> schedule(Client client, Request request) throws IOException {
        switch (request.call()) {
            case "put_schedule" -> {
                return describe(client.putSchedule(request.name(),
                        ScheduleSpec.cron(request.definition(), request.cron()).withInput(json(request.input()))));
            }
            case "get_schedule" -> {
                return describe(client.schedule(request.name()));
            }
            case "pause_schedule" -> client.pauseSchedule(request.name(), or(request.reason()));
            case "delete_schedule" -> client.deleteSchedule(request.name());
            case "trigger_schedule" -> {
                return Output.object("id", client.triggerSchedule(request.name()).id());
            }
            default -> throw new IllegalArgumentException("unknown call " + request.call());
        }
        return Map.of();
    }

    private static Map<String, Object> describe(Schedule schedule) {
        return Output.object("name", schedule.name(), "cron", schedule.spec().cron(), "paused", schedule.paused());
    }

    private static Map<String, Object> describe(Description described) {
        Map<String, Object> steps = Output.object();
        described.steps().forEach(each -> steps.put(each.name(), Output.object(
                "status", each.status(), "attempts", each.attempts(), "output", each.output())));
        return Output.object(
                "id", described.id(), "definition", described.definition(), "version", described.version(),
                "status", described.status(), "input", described.input(), "labels", described.labels(),
                "idempotency_key", described.idempotencyKey(), "steps", steps,
                "waiting_on", described.waitingOn().stream().map(Description.Waiting::kind).toList());
    }

    private static Map<String, Object> failure(Optional<Failure> failure) {
        return failure.map(each -> Output.object(
                "code", each.code(), "message", each.message(), "detail", each.detail())).orElse(null);
    }

    private static Json json(JsonNode node) throws IOException {
        return new Json(Script.text(node));
    }

    private static String or(String text) {
        return text == null ? "" : text;
    }
}
