package io.github.goconductor.outbox;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import io.github.goconductor.inbox.TestDatabases;
import java.io.IOException;
import java.sql.Connection;
import java.sql.SQLException;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import javax.sql.DataSource;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

final class OutboxTest {
    private static void emit(DataSource source, Outbox outbox, int number, boolean commit) throws SQLException {
        try (Connection connection = source.getConnection()) {
            connection.setAutoCommit(false);
            outbox.emit(connection, "order-paid", Map.of("n", number));
            if (commit) {
                connection.commit();
            } else {
                connection.rollback();
            }
        }
    }

    @ParameterizedTest
    @ValueSource(strings = {"sqlite", "postgres", "mysql"})
    void committedEventsArePublishedOnce(String kind) throws Exception {
        DataSource source = TestDatabases.open(kind);
        Outbox outbox = Outbox.of(source);
        outbox.migrate();
        outbox.migrate();
        for (int number = 0; number < 10; number++) {
            emit(source, outbox, number, number % 2 == 0);
        }
        List<String> published = Collections.synchronizedList(new ArrayList<>());
        // An event that fails does not delay the others.
        Outbox.PublicationException failure = assertThrows(Outbox.PublicationException.class, () -> outbox.flush(event -> {
            if (event.payload().text().equals("{\"n\":4}")) {
                throw new IOException("no connection");
            }
            published.add(event.topic() + event.payload());
        }));
        assertEquals("no connection", failure.getSuppressed()[0].getMessage());
        assertEquals(List.of("order-paid{\"n\":0}", "order-paid{\"n\":2}", "order-paid{\"n\":6}", "order-paid{\"n\":8}"),
                published);
        assertEquals(1, outbox.flush(event -> published.add(event.payload().text())));
        assertEquals("{\"n\":4}", published.get(4));
        assertEquals(0, outbox.flush(event -> published.add("none")));
    }

    @ParameterizedTest
    @ValueSource(strings = {"sqlite", "postgres", "mysql"})
    void relaysShareTheEvents(String kind) throws Exception {
        DataSource source = TestDatabases.open(kind);
        Outbox outbox = Outbox.of(source);
        outbox.migrate();
        for (int number = 0; number < 30; number++) {
            emit(source, outbox, number, true);
        }
        List<String> ids = Collections.synchronizedList(new ArrayList<>());
        ExecutorService threads = Executors.newFixedThreadPool(2);
        List<Future<?>> relays = new ArrayList<>();
        for (int relay = 0; relay < 2; relay++) {
            relays.add(threads.submit(() -> {
                outbox.relay(event -> ids.add(event.id()));
                return null;
            }));
        }
        for (int wait = 0; wait < 500 && ids.size() < 30; wait++) {
            Thread.sleep(20);
        }
        threads.shutdownNow();
        assertEquals(30, ids.size());
        assertEquals(30, ids.stream().distinct().count());
    }
}
