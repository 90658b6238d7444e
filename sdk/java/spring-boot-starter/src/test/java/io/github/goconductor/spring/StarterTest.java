package io.github.goconductor.spring;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.goconductor.ActionException;
import io.github.goconductor.Attempt;
import io.github.goconductor.Client;
import io.github.goconductor.CompensationInput;
import io.github.goconductor.Result;
import io.github.goconductor.Service;
import io.github.goconductor.StartOptions;
import io.github.goconductor.WorkflowStatus;
import io.github.goconductor.inbox.Inbox;
import io.github.goconductor.testkit.TestServer;
import java.nio.file.Path;
import java.time.Duration;
import javax.sql.DataSource;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.slf4j.MDC;
import org.springframework.boot.SpringApplication;
import org.springframework.boot.autoconfigure.EnableAutoConfiguration;
import org.springframework.context.ConfigurableApplicationContext;
import org.springframework.context.annotation.Bean;
import org.springframework.context.annotation.Configuration;
import org.springframework.jdbc.core.JdbcTemplate;
import org.springframework.jdbc.datasource.DataSourceTransactionManager;
import org.springframework.transaction.PlatformTransactionManager;
import org.springframework.transaction.annotation.Transactional;
import org.springframework.transaction.support.TransactionOperations;

final class StarterTest {
    record Order(String id) {}

    record Payment(String id) {}

    /** The application. */
    @Configuration(proxyBeanMethods = false)
    @EnableAutoConfiguration
    static class Application {
        @Bean
        Payments payments(TransactionalInbox inbox, JdbcTemplate database) {
            return new Payments(inbox, database);
        }

        @Bean
        Service service(Payments payments) {
            return Service.builder("payments")
                    .pair(Order.class, Payment.class, "charge", payments::charge, "refund", payments::refund)
                    .action("refuse", Object.class, (attempt, input) -> {
                        // The logger of Spring Boot has a context.
                        throw ActionException.refused("NO", MDC.get("goconductor.step"));
                    }).build();
        }

        /** A service whose inbox has no transaction of its data source. */
        @Bean
        Service outside(Inbox inbox, DataSource source) {
            TransactionalInbox other = new TransactionalInbox(inbox, source, TransactionOperations.withoutTransaction());
            return Service.builder("outside").action("run", Object.class,
                    (attempt, input) -> other.execute(attempt, String.class, () -> "done")).build();
        }
    }

    /** An application with two transaction managers. */
    @Configuration(proxyBeanMethods = false)
    @EnableAutoConfiguration
    static class Managers {
        @Bean
        PlatformTransactionManager first(DataSource source) {
            return new DataSourceTransactionManager(source);
        }

        @Bean
        PlatformTransactionManager second(DataSource source) {
            return new DataSourceTransactionManager(source);
        }
    }

    /** A participant whose methods have transactions. */
    static class Payments {
        private final TransactionalInbox inbox;
        private final JdbcTemplate database;

        Payments(TransactionalInbox inbox, JdbcTemplate database) {
            this.inbox = inbox;
            this.database = database;
        }

        @Transactional
        public Payment charge(Attempt attempt, Order order) {
            // The first attempt is rolled back with its record, and the response of the second is lost.
            Payment payment = inbox.execute(attempt, Payment.class, () -> {
                database.update("INSERT INTO effects VALUES ('charge', ?)", order.id());
                return new Payment("p-" + attempt.number());
            });
            if (attempt.number() == 1) {
                throw ActionException.retryable("BUSY", "the transaction is rolled back");
            }
            return payment;
        }

        @Transactional
        public void refund(Attempt attempt, CompensationInput<Order, Payment> undo) {
            inbox.compensate(attempt, Payment.class, payment ->
                    database.update("INSERT INTO effects VALUES ('refund', ?)", payment.id()));
        }
    }

    @Test
    void actionsAndTheInboxHaveTheTransactionsOfSpring(@TempDir Path folder) {
        try (TestServer server = TestServer.start(); ConfigurableApplicationContext context = SpringApplication.run(
                Application.class,
                "--goconductor.server=" + server.url(), "--goconductor.namespace=spring",
                "--spring.datasource.url=jdbc:sqlite:" + folder.resolve("shop.db") + "?busy_timeout=30000",
                "--spring.main.banner-mode=off")) {
            JdbcTemplate database = context.getBean(JdbcTemplate.class);
            database.execute("CREATE TABLE effects (action TEXT, id TEXT)");
            Client client = context.getBean(Client.class);
            context.getBean(Workers.class).workers().forEach(each -> each.connected());
            client.apply("order", """
                    workflow: order
                    steps:
                      - name: charge
                        run: payments/charge
                        compensate: payments/refund
                        retry: { max_attempts: 3, initial: 10ms }
                      - { name: refuse, run: payments/refuse, compensate: none }
                    """);
            Result result = client.start("order", StartOptions.of(new Order("o-1"))).result(Duration.ofMinutes(1));
            assertEquals(WorkflowStatus.ROLLED_BACK, result.status());
            assertEquals("NO", result.failure().orElseThrow().code());
            assertEquals("refuse", result.failure().orElseThrow().message());
            assertEquals("charge o-1, refund p-2",
                    database.queryForObject("SELECT group_concat(action || ' ' || id, ', ') FROM effects", String.class));
            client.apply("outside", """
                    workflow: outside
                    steps: [ { name: run, run: outside/run, compensate: none, retry: { max_attempts: 1 } } ]
                    """);
            String message = client.start("outside").result(Duration.ofMinutes(1)).failure().orElseThrow().message();
            assertTrue(message.contains("transaction manager"), message);
        }
    }

    @Test
    void inboxIsOptional(@TempDir Path folder) {
        try (ConfigurableApplicationContext context = run(folder, "--goconductor.inbox.enabled=false")) {
            assertFalse(context.getBeanProvider(Inbox.class).iterator().hasNext());
        }
    }

    @Test
    void applicationWithTwoTransactionManagersStarts(@TempDir Path folder) {
        try (ConfigurableApplicationContext context = run(folder, "--goconductor.inbox.enabled=true")) {
            assertTrue(context.getBeanProvider(Inbox.class).iterator().hasNext());
            assertFalse(context.getBeanProvider(TransactionalInbox.class).iterator().hasNext());
        }
    }

    private static ConfigurableApplicationContext run(Path folder, String setting) {
        return SpringApplication.run(Managers.class, setting, "--spring.main.banner-mode=off",
                "--spring.datasource.url=jdbc:sqlite:" + folder.resolve("shop.db") + "?busy_timeout=30000");
    }
}
