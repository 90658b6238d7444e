package io.github.goconductor.testkit;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.goconductor.ActionException;
import io.github.goconductor.Attempt;
import io.github.goconductor.Client;
import io.github.goconductor.ErrorKind;
import io.github.goconductor.GoConductorException;
import io.github.goconductor.Handler;
import io.github.goconductor.Json;
import io.github.goconductor.ProbeAnswer;
import io.github.goconductor.Result;
import io.github.goconductor.Service;
import io.github.goconductor.StartOptions;
import io.github.goconductor.Worker;
import io.github.goconductor.Workflow;
import io.github.goconductor.WorkflowStatus;
import io.github.goconductor.WorkflowStep;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import java.util.UUID;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;

final class WorkerTest {
    record Charge(long amount) {}

    record Receipt(long charged) {}

    private static final Duration LIMIT = Duration.ofMinutes(1);
    private static TestServer server;

    @BeforeAll
    static void start() {
        server = TestServer.start();
    }

    @AfterAll
    static void stop() {
        server.close();
    }

    private static Client client() {
        return server.client("t-" + UUID.randomUUID());
    }

    private static Result run(Client client, Object input) {
        client.apply("shop", """
                workflow: shop
                steps:
                  - { name: charge, run: shop/charge, compensate: none, retry: { max_attempts: 6, initial: 10ms } }
                output: { charge: "${ steps.charge.output }" }
                """);
        return client.start("shop", StartOptions.of(input)).result(LIMIT);
    }

    @Test
    void eachKindOfExceptionIsRetriedOrRollsBack() {
        AtomicInteger attempts = new AtomicInteger();
        Service shop = Service.builder("shop").version("1.2.3").capacity(2).action("charge", Charge.class, (attempt, input) -> {
            int number = attempts.incrementAndGet();
            assertEquals(number, attempt.number());
            if (input.amount() == 2) {
                throw new IllegalStateException("wrapped",
                        ActionException.refused("LIMIT", "too much").withDetail(input));
            }
            switch (number) {
                case 1 -> throw ActionException.retryAfter("BUSY", "later", Duration.ofMillis(100));
                case 2 -> throw ActionException.unknown("LOST", "the response was lost");
                case 3 -> throw new StackOverflowError("the test says so");
                case 4 -> throw new IllegalStateException("something went wrong");
                default -> {
                    return new Receipt(input.amount());
                }
            }
        }).build();
        try (Client client = client(); Worker worker = client.serve(shop)) {
            worker.connected();
            assertEquals(WorkflowStatus.COMPLETED, run(client, new Charge(1)).status());
            assertEquals(5, attempts.getAndSet(0));
            Result refused = run(client, new Charge(2));
            assertEquals(WorkflowStatus.ROLLED_BACK, refused.status());
            assertEquals("LIMIT", refused.failure().orElseThrow().code());
            assertEquals(new Json("{\"amount\":2}"), refused.failure().orElseThrow().detail());
            assertEquals(1, attempts.get());
            Result other = run(client, Map.of("amount", "much"));
            assertEquals("BAD_INPUT", other.failure().orElseThrow().code());
        }
    }

    @Test
    void exceptionOfAStepRollsACodeFirstWorkflowBack() {
        List<String> undone = Collections.synchronizedList(new ArrayList<>());
        Workflow workflow = new Workflow("Order Processing",
                new WorkflowStep("Process Payment",
                        step -> step.setOutput(new Receipt(step.input(Charge.class).amount())),
                        step -> {
                            assertEquals(42, step.output(Receipt.class).orElseThrow().charged());
                            assertEquals(42, step.input(Charge.class).amount());
                            undone.add("payment");
                        }),
                new WorkflowStep("Update Inventory",
                        step -> {
                            throw new java.io.IOException("no connection");
                        },
                        step -> {
                            assertFalse(step.output(Receipt.class).isPresent());
                            undone.add("inventory");
                        }));
        try (Client client = client()) {
            Result result = client.startWorkflow(workflow, StartOptions.of(new Charge(42))).result(LIMIT);
            assertEquals(WorkflowStatus.ROLLED_BACK, result.status());
            assertEquals("ERROR", result.failure().orElseThrow().code());
            assertEquals(List.of("inventory", "payment"), undone);
            Workflow other = new Workflow("Order Processing", new WorkflowStep("Other", step -> {}, null));
            assertEquals(ErrorKind.MISUSE, assertThrows(GoConductorException.class,
                    () -> client.startWorkflow(other, StartOptions.defaults())).kind());
        }
    }

    @Test
    void interceptorsSeeEachAttemptInOrder() {
        List<String> order = Collections.synchronizedList(new ArrayList<>());
        Service shop = Service.builder("shop").intercept(next -> note(order, "first", next))
                .intercept(next -> note(order, "second", next))
                .action("charge", Object.class, (attempt, input) -> {
                    assertEquals(attempt, Attempt.current().orElseThrow());
                    return !attempt.traceparent().isEmpty();
                }).build();
        try (Client client = Client.builder(server.url()).namespace("t-" + UUID.randomUUID())
                .intercept(next -> note(order, "client", next)).build(); Worker worker = client.serve(shop)) {
            worker.connected();
            assertEquals(new Json("{\"charge\":true}"), run(client, null).output());
            assertEquals(List.of("client charge", "first charge", "second charge"), order);
        }
    }

    private static Handler note(List<String> order, String name, Handler next) {
        return (attempt, input) -> {
            order.add(name + " " + attempt.action());
            return next.handle(attempt, input);
        };
    }

    @Test
    void asynchronousActionsComplete() {
        Service shop = Service.builder("shop").actionAsync("charge", Charge.class, (attempt, input) ->
                CompletableFuture.supplyAsync(() -> {
                    if (attempt.number() == 1) {
                        throw ActionException.retryable("BUSY", "later");
                    }
                    return new Receipt(input.amount());
                })).build();
        try (Client client = client(); Worker worker = client.serve(shop)) {
            worker.connected();
            client.applyAsync("other", "workflow: other\nsteps: [ { name: charge, run: shop/charge, compensate: none } ]\n")
                    .thenCompose(applied -> client.startAsync("other", StartOptions.of(new Charge(7)).withKey("k")))
                    .thenCompose(handle -> handle.resultAsync())
                    .thenAccept(result -> assertEquals(WorkflowStatus.COMPLETED, result.status()))
                    .orTimeout(LIMIT.toSeconds(), java.util.concurrent.TimeUnit.SECONDS).join();
            assertTrue(client.start("other", StartOptions.of(new Charge(7)).withKey("k")).replayed());
        }
    }

    @Test
    void probeResolvesDoubt() {
        Service shop = Service.builder("shop")
                .action("charge", Object.class, (attempt, input) -> {
                    throw ActionException.unknown("LOST", "lost");
                })
                .probe("ask", Object.class, (attempt, input) -> ProbeAnswer.done(new Receipt(7))).build();
        try (Client client = client(); Worker worker = client.serve(shop)) {
            worker.connected();
            client.apply("shop", """
                    workflow: shop
                    steps:
                      - { name: charge, run: shop/charge, compensate: none, probe: shop/ask, retry: { max_attempts: 1 } }
                    output: { charged: "${ steps.charge.output.charged }" }
                    """);
            assertEquals(new Json("{\"charged\":7}"), client.start("shop").result(LIMIT).output());
        }
    }

    @Test
    void serviceWithoutAnExecutorSaysWhy() {
        Service shop = Service.builder("shop").action("charge", Object.class, (attempt, input) -> null).build();
        try (Client client = Client.builder(server.url()).executors(List.of("http://127.0.0.1:1")).build();
                Worker worker = client.serve(shop)) {
            GoConductorException failure =
                    assertThrows(GoConductorException.class, () -> worker.connected(Duration.ofSeconds(2)));
            assertEquals(ErrorKind.NO_EXECUTOR, failure.kind());
            assertTrue(failure.getMessage().contains("127.0.0.1:1"), failure.getMessage());
        }
    }

    @Test
    void resultThatDoesNotArriveInTimeIsATimeout() {
        try (Client client = client()) {
            client.apply("wait", "workflow: wait\nsteps: [ { name: wait, wait_for_signal: never } ]\n");
            GoConductorException failure = assertThrows(GoConductorException.class,
                    () -> client.start("wait").result(Duration.ofMillis(200)));
            assertEquals(ErrorKind.TIMEOUT, failure.kind());
        }
    }
}
