package io.github.goconductor.conformance;

import com.fasterxml.jackson.core.StreamReadConstraints;
import com.fasterxml.jackson.databind.DeserializationFeature;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.cfg.JsonNodeFeature;
import com.fasterxml.jackson.databind.json.JsonMapper;
import io.github.goconductor.Client;
import io.github.goconductor.ErrorKind;
import io.github.goconductor.GoConductorException;
import io.github.goconductor.Service;
import io.github.goconductor.Worker;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.sql.SQLException;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Objects;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;

/** The driver of the Java SDK for the conformance suite. sdk/conformance/README.md documents the protocol. */
public final class Driver {
    private static final int MAX_LINE = 64 << 20;
    private static final ObjectMapper MAPPER = mapper();

    private final Map<String, CompletableFuture<Void>> gates = new ConcurrentHashMap<>();
    private volatile Worker worker;
    private volatile Box box;
    private volatile String broken = "";
    private volatile boolean quiet;

    private static ObjectMapper mapper() {
        ObjectMapper mapper = JsonMapper.builder()
                .enable(DeserializationFeature.USE_BIG_DECIMAL_FOR_FLOATS)
                .disable(DeserializationFeature.FAIL_ON_UNKNOWN_PROPERTIES)
                .disable(JsonNodeFeature.STRIP_TRAILING_BIGDECIMAL_ZEROES)
                .build();
        mapper.getFactory().setStreamReadConstraints(
                StreamReadConstraints.builder().maxStringLength(MAX_LINE).build());
        return mapper;
    }

    /**
     * Runs the driver until its input ends.
     *
     * @param arguments none
     * @throws IOException if the input cannot be read
     */
    public static void main(String[] arguments) throws IOException {
        Driver driver = new Driver();
        ExecutorService requests = Executors.newCachedThreadPool();
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = lines.readLine(); line != null; line = lines.readLine()) {
            Request request = MAPPER.readValue(line, Request.class);
            requests.execute(() -> driver.respond(request));
        }
        System.exit(0);
    }

    private void respond(Request request) {
        try {
            Output.write(Output.object("id", request.id(), "result", handle(request)));
        } catch (Exception | Error e) {
            Output.write(Output.object("id", request.id(), "error", describe(e)));
        }
    }

    private Map<String, Object> handle(Request request) throws Exception {
        switch (request.op()) {
            case "hello" -> {
                return Output.object("sdk", "java", "capabilities", List.of("inbox", "client", "drops_expired"));
            }
            case "serve" -> serve(request);
            case "drain" -> worker.shutdown();
            case "release" -> gate(request.gate()).complete(null);
            case "effects" -> {
                return Output.object("effects", box.effects());
            }
            case "client" -> {
                try (Client client = Client.builder(request.gateway()).namespace(request.namespace()).build()) {
                    return Call.run(client, request);
                }
            }
            default -> throw new IllegalArgumentException("unknown operation " + request.op());
        }
        return Map.of();
    }

    /** Connects the service with the actions of the scenario. */
    private void serve(Request request) throws SQLException {
        broken = Objects.requireNonNullElse(request.broken(), "");
        quiet = request.quiet();
        box = new Box(request.database(), broken);
        Client client = Client.builder(request.gateway()).namespace(request.namespace())
                .executors(Objects.requireNonNullElse(request.executors(), List.of())).build();
        Service.Builder service =
                Service.builder(request.service()).capacity(request.capacity()).version("1.0.0");
        Script script = new Script(this);
        request.actions().forEach((name, scripts) -> {
            service.handle(name, script.handler(scripts));
            int limit = request.limits() == null ? 0 : request.limits().getOrDefault(name, 0);
            if (limit > 0) {
                service.maxInFlight(name, limit);
            }
        });
        worker = client.serve(service.build());
        worker.connected();
    }

    String broken() {
        return broken;
    }

    /** Returns whether attempts are not reported. */
    boolean quiet() {
        return quiet;
    }

    Box box() {
        return box;
    }

    CompletableFuture<Void> gate(String name) {
        return gates.computeIfAbsent(name, each -> new CompletableFuture<>());
    }

    /** Describes an error of a call. */
    private static Map<String, Object> describe(Throwable failure) {
        if (!(failure instanceof GoConductorException error)) {
            return Output.object("message", failure.toString(), "kind", "other");
        }
        boolean known = error.kind() != ErrorKind.NO_EXECUTOR && error.kind() != ErrorKind.CANCELLED;
        return Output.object("message", String.valueOf(error.getMessage()),
                "kind", known ? error.kind().name().toLowerCase(Locale.ROOT) : "other", "code", error.code());
    }
}
