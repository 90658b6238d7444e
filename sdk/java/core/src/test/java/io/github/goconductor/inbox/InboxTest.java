package io.github.goconductor.inbox;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.goconductor.ActionException;
import io.github.goconductor.Json;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Proxy;
import java.sql.Connection;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import javax.sql.DataSource;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

final class InboxTest {
    private static final class Requested extends Exception {
        private static final long serialVersionUID = 1;
    }

    /** A participant with a table of effects and an inbox. */
    private static final class Participant {
        final DataSource source;
        final Inbox inbox;

        Participant(String kind) throws Exception {
            source = TestDatabases.open(kind);
            inbox = Inbox.of(source);
            // Processes of a service start at a time.
            ExecutorService threads = Executors.newFixedThreadPool(2);
            Future<?> other = threads.submit(() -> {
                inbox.migrate();
                return null;
            });
            inbox.migrate();
            other.get();
            threads.shutdown();
            TestDatabases.execute(source,
                    "CREATE TABLE effects (step VARCHAR(200) NOT NULL, applied INT NOT NULL, undone INT NOT NULL)");
        }

        private static void insert(Connection connection, String step, int applied, int undone) throws SQLException {
            try (PreparedStatement insert =
                    connection.prepareStatement("INSERT INTO effects (step, applied, undone) VALUES (?, ?, ?)")) {
                insert.setString(1, step);
                insert.setInt(2, applied);
                insert.setInt(3, undone);
                insert.executeUpdate();
            }
        }

        /** Adds an effect. */
        String execute(String key, boolean fails) throws Exception {
            String step = key.replace("/execute", "");
            return inbox.execute(key, connection -> {
                insert(connection, step, 1, 0);
                if (fails) {
                    throw new Requested();
                }
                return new Json(output(step));
            }).text();
        }

        /** Undoes the effect. */
        void compensate(String key, boolean fails) throws Exception {
            String step = key.replace("/compensate", "");
            inbox.compensate(key, (connection, done) -> {
                assertEquals(output(step), done.text());
                insert(connection, step, 0, 1);
                if (fails) {
                    throw new Requested();
                }
            });
        }

        void expect(String step, int applied, int undone) throws SQLException {
            assertEquals(List.of(applied, undone), effects(step), step);
        }

        List<Integer> effects(String step) throws SQLException {
            try (Connection connection = source.getConnection(); PreparedStatement query = connection.prepareStatement(
                    "SELECT coalesce(sum(applied), 0), coalesce(sum(undone), 0) FROM effects WHERE step = ?")) {
                query.setString(1, step);
                try (ResultSet row = query.executeQuery()) {
                    row.next();
                    return List.of(row.getInt(1), row.getInt(2));
                }
            }
        }
    }

    private static String output(String step) {
        return "{\"step\":\"" + step + "\",\"n\":12345678901234567890}";
    }

    private static void refused(Participant participant, String key) {
        ActionException refused = assertThrows(ActionException.class, () -> participant.execute(key, false));
        assertEquals(ActionException.Kind.REFUSED, refused.kind());
        assertEquals("UNDONE", refused.code());
    }

    @ParameterizedTest
    @ValueSource(strings = {"sqlite", "postgres", "mysql"})
    void inboxKeepsEachGuarantee(String kind) throws Exception {
        Participant p = new Participant(kind);
        // An execute takes effect once, and a repeated request returns its output.
        assertEquals(output("w/a"), p.execute("w/a/execute", false));
        assertEquals(output("w/a"), p.execute("w/a/execute", true));
        p.expect("w/a", 1, 0);
        // A compensate takes effect once, and a later execute is refused.
        p.compensate("w/a/compensate", false);
        p.compensate("w/a/compensate", true);
        refused(p, "w/a/execute");
        p.expect("w/a", 1, 1);
        // A compensate without an execute does nothing, and a later execute is refused.
        p.compensate("w/b/compensate", true);
        refused(p, "w/b/execute");
        p.compensate("w/b/compensate", true);
        p.expect("w/b", 0, 0);
        // A transaction that is rolled back leaves no record.
        assertThrows(Requested.class, () -> p.execute("w/c/execute", true));
        p.expect("w/c", 0, 0);
        assertEquals(output("w/c"), p.execute("w/c/execute", false));
        assertThrows(Requested.class, () -> p.compensate("w/c/compensate", true));
        p.expect("w/c", 1, 0);
        p.compensate("w/c/compensate", false);
        // An error of the program rolls back as well.
        assertThrows(AssertionError.class, () -> p.inbox.execute("w/e/execute", connection -> {
            Participant.insert(connection, "w/e", 1, 0);
            throw new AssertionError("requested");
        }));
        p.expect("w/e", 0, 0);
        // An invalid key changes nothing.
        for (String key : List.of("", "execute", "/execute", "w/execute", "w//execute", "w/d/compensate", "w/d/e/execute")) {
            assertThrows(InvalidKeyException.class, () -> p.execute(key, false), key);
        }
        // Only records older than the given age are removed.
        assertEquals(0, p.inbox.prune(Duration.ofHours(1)));
        Thread.sleep(1100);
        assertEquals(3, p.inbox.prune(Duration.ZERO));
    }

    /** Returns a data source that lends one connection, as it is, like some pools. */
    private static DataSource lending(Connection connection) {
        ClassLoader loader = InboxTest.class.getClassLoader();
        Object lent = Proxy.newProxyInstance(loader, new Class<?>[] {Connection.class}, (proxy, method, arguments) -> {
            try {
                return method.getName().equals("close") ? null : method.invoke(connection, arguments);
            } catch (InvocationTargetException e) {
                throw e.getCause();
            }
        });
        return (DataSource) Proxy.newProxyInstance(
                loader, new Class<?>[] {DataSource.class}, (proxy, method, arguments) -> lent);
    }

    @ParameterizedTest
    @ValueSource(strings = {"sqlite", "postgres", "mysql"})
    void connectionOfAPoolKeepsItsMode(String kind) throws Exception {
        DataSource source = TestDatabases.open(kind);
        try (Connection connection = source.getConnection()) {
            Inbox inbox = Inbox.of(lending(connection));
            inbox.migrate();
            for (boolean automatic : new boolean[] {true, false}) {
                connection.setAutoCommit(automatic);
                String key = "w/" + automatic + "/execute";
                assertThrows(Requested.class, () -> inbox.execute(key, each -> {
                    throw new Requested();
                }));
                assertEquals(automatic, connection.getAutoCommit());
                inbox.execute(key, each -> 1);
                assertEquals(automatic, connection.getAutoCommit());
            }
        }
    }

    @ParameterizedTest
    @ValueSource(strings = {"sqlite", "postgres", "mysql"})
    void migrationIsCommitted(String kind) throws Exception {
        DataSource source = TestDatabases.open(kind);
        try (Connection connection = source.getConnection()) {
            connection.setAutoCommit(false);
            Inbox.of(lending(connection)).migrate();
            connection.rollback();
        }
        assertEquals(0, Inbox.of(source).prune(Duration.ZERO));
    }

    @ParameterizedTest
    @ValueSource(strings = {"sqlite", "postgres", "mysql"})
    void concurrentRequestsTakeEffectOnce(String kind) throws Exception {
        Participant p = new Participant(kind);
        ExecutorService threads = Executors.newFixedThreadPool(16);
        List<Future<?>> requests = new ArrayList<>();
        for (int each = 0; each < 160; each++) {
            int number = each;
            int step = number % 5;
            requests.add(threads.submit(() -> {
                // Half of the requests fail, and other processes repeat them. Some steps are compensated in between.
                if (number % 16 == 7 && step % 2 == 0) {
                    p.compensate("concurrent/s" + step + "/compensate", false);
                } else {
                    p.execute("concurrent/s" + step + "/execute", number % 2 == 0);
                }
                return null;
            }));
        }
        for (Future<?> request : requests) {
            try {
                request.get();
            } catch (ExecutionException e) {
                boolean expected = e.getCause() instanceof Requested
                        || e.getCause() instanceof ActionException action && action.code().equals("UNDONE");
                assertTrue(expected, e.getCause().toString());
            }
        }
        threads.shutdown();
        for (int step = 0; step < 5; step++) {
            List<Integer> effects = p.effects("concurrent/s" + step);
            assertTrue(effects.get(0) <= 1 && effects.get(1) <= effects.get(0), effects.toString());
            if (step % 2 == 1) {
                assertEquals(List.of(1, 0), effects);
            }
        }
    }
}
