package io.github.goconductor.testkit;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.goconductor.Attempt;
import io.github.goconductor.Client;
import io.github.goconductor.Event;
import io.github.goconductor.Schedule;
import io.github.goconductor.ScheduleSpec;
import io.github.goconductor.Service;
import io.github.goconductor.StartOptions;
import io.github.goconductor.WorkflowStatus;
import java.time.Duration;
import java.util.List;
import org.junit.jupiter.api.Test;

final class VirtualTimeTest {
    private static final String TRIAL = """
            workflow: trial
            steps:
              - { name: open, run: shop/open, compensate: shop/close }
              - { name: wait, sleep: 30d }
              - { name: charge, run: shop/charge, compensate: none, retry: { max_attempts: 3, initial: 1h, max: 1h } }
            """;

    private static Object nothing(Attempt attempt, Object input) {
        return null;
    }

    @Test
    void thirtyDaysPassAtOnce() {
        long began = System.nanoTime();
        Service shop = Service.builder("shop").action("open", Object.class, VirtualTimeTest::nothing)
                .action("close", Object.class, VirtualTimeTest::nothing)
                .action("charge", Object.class, VirtualTimeTest::nothing).build();
        try (TestServer server = TestServer.builder().virtualTime().start()) {
            Saga saga = Saga.of(server, "trial", TRIAL, shop);
            Run run = saga.inject(Attempts.onExecute("charge").numbers(1, 2), Fault.FAIL).run(null)
                    .assertStatus(WorkflowStatus.COMPLETED).assertExecuted("open", "wait", "charge");
            List<Event> events = run.events();
            Duration passed = Duration.between(events.get(0).time(), events.get(events.size() - 1).time());
            assertTrue(passed.compareTo(Duration.ofDays(30)) >= 0, run.timeline());
            saga.cancelAfter("open").run(null).assertStatus(WorkflowStatus.ROLLED_BACK)
                    .assertExecuted("open").assertCompensated("open");
        }
        // A limit that a busy machine keeps, and 30 days do not.
        assertTrue(System.nanoTime() - began < Duration.ofSeconds(30).toNanos());
    }

    @Test
    void scheduleStartsAtEachDueTimeOfAnAdvance() {
        try (TestServer server = TestServer.builder().virtualTime().start();
                Client client = server.client("default")) {
            client.apply("report", "workflow: report\nsteps: [ { name: pause, sleep: 1h } ]\n");
            client.putSchedule("daily", ScheduleSpec.cron("report", "@daily"));
            server.advance(Duration.ofDays(10));
            Schedule schedule = client.schedule("daily");
            assertEquals(10, schedule.started());
            assertEquals(0, schedule.missed());
            assertEquals(WorkflowStatus.COMPLETED,
                    server.runToEnd(client.start("report", StartOptions.defaults())).status());
        }
    }

    @Test
    void clockOfAnotherServerIsReal() {
        try (TestServer server = TestServer.start()) {
            IllegalStateException refused =
                    assertThrows(IllegalStateException.class, () -> server.advance(Duration.ofDays(1)));
            assertTrue(refused.getMessage().contains("virtualTime"), refused.getMessage());
        }
    }
}
