package io.github.goconductor.testkit;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import io.github.goconductor.ActionException;
import io.github.goconductor.Attempt;
import io.github.goconductor.CompensationInput;
import io.github.goconductor.Json;
import io.github.goconductor.RetryPolicy;
import io.github.goconductor.Service;
import io.github.goconductor.Workflow;
import io.github.goconductor.WorkflowStatus;
import io.github.goconductor.WorkflowStep;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;

final class SagaTest {
    record Order(String sku, long amount) {}

    private static TestServer server;

    @BeforeAll
    static void start() {
        server = TestServer.start();
    }

    @AfterAll
    static void stop() {
        server.close();
    }

    /** A saga of two steps. Its attempts time out soon. */
    private static Workflow order() {
        return new Workflow("Order", step("Charge"), step("Reserve"));
    }

    private static WorkflowStep step(String name) {
        return WorkflowStep.typed(name, Order.class, String.class, (attempt, order) -> {
            if (name.equals("Reserve") && order.sku().equals("sold-out")) {
                throw ActionException.refused("SOLD_OUT", "no item is left");
            }
            return name;
        }, (attempt, undo) -> assertEquals(name, undo.output().orElse(name)))
                .withTimeout(Duration.ofSeconds(1))
                .withRetry(new RetryPolicy(3, Duration.ofMillis(10), Duration.ZERO));
    }

    @Test
    void sagaCompletesAndRollsBack() {
        Saga saga = Saga.of(server, order());
        saga.run(new Order("book", 1)).assertStatus(WorkflowStatus.COMPLETED)
                .assertExecuted("charge", "reserve").assertCompensated();
        Run run = saga.run(new Order("sold-out", 1)).assertStatus(WorkflowStatus.ROLLED_BACK)
                .assertExecuted("charge").assertCompensated("charge").assertNothingStands();
        assertEquals("SOLD_OUT", run.description().failure().orElseThrow().code());
        assertThrows(AssertionError.class, () -> run.assertStatus(WorkflowStatus.COMPLETED));
    }

    @Test
    void eachFaultAtEachStepLeavesNoEffect() {
        Saga.of(server, order()).everywhere(new Order("book", 1), List.of("charge", "reserve"), (step, fault, run) ->
                run.assertStatus(fault == Fault.REFUSE ? WorkflowStatus.ROLLED_BACK : WorkflowStatus.COMPLETED)
                        .assertNothingStands().assertSameKeys());
    }

    @Test
    void stepInDoubtIsCompensated() {
        Run run = Saga.of(server, order()).inject(Attempts.onExecute("reserve").every(), Fault.UNKNOWN)
                .run(new Order("book", 1)).assertStatus(WorkflowStatus.ROLLED_BACK)
                .assertExecuted("charge").assertCompensated("reserve", "charge").assertNothingStands();
        assertEquals(6, run.calls().size());
    }

    @Test
    void compensationThatNeverSucceedsWaitsForAnOperator() {
        String definition = """
                workflow: order
                steps:
                  - name: charge
                    run: shop/charge
                    compensate: { run: shop/refund, retry: { max_attempts: 2, initial: 10ms } }
                  - { name: ship, run: shop/ship, compensate: none }
                """;
        Service shop = Service.builder("shop").action("charge", Object.class, SagaTest::nothing)
                .action("refund", Object.class, SagaTest::nothing).action("ship", Object.class, SagaTest::nothing).build();
        Run run = Saga.of(server, "order", definition, shop)
                .inject(Attempts.onExecute("ship"), Fault.REFUSE)
                .inject(Attempts.onCompensate("charge").every(), Fault.FAIL)
                .run(null).assertStatus(WorkflowStatus.ERROR);
        assertEquals(List.of("charge"), run.standing());
    }

    private static Object nothing(Attempt attempt, Object input) {
        return null;
    }

    @Test
    void signalAndCancel() {
        String definition = """
                workflow: order
                steps:
                  - { name: charge, run: shop/charge, compensate: shop/refund }
                  - { name: approval, wait_for_signal: { signal: approved }, timeout: 20s }
                output: { by: "${ signals.approved.by }" }
                """;
        Service shop = Service.builder("shop")
                .pair(Order.class, String.class, "charge", (attempt, order) -> "p1", "refund", SagaTest::refund).build();
        Saga saga = Saga.of(server, "order", definition, shop);
        Run run = saga.signal("approved", Map.of("by", "Zoë")).run(new Order("book", 1))
                .assertStatus(WorkflowStatus.COMPLETED);
        assertEquals(new Json("{\"by\":\"Zoë\"}"), run.description().output());
        saga.cancelAfter("charge").run(new Order("book", 1))
                .assertStatus(WorkflowStatus.ROLLED_BACK).assertCompensated("charge");
    }

    private static void refund(Attempt attempt, CompensationInput<Order, String> undo) {
        assertEquals("p1", undo.output().orElseThrow());
    }
}
