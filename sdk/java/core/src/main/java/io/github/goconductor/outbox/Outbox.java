package io.github.goconductor.outbox;

import io.github.goconductor.Json;
import io.github.goconductor.internal.Database;
import java.sql.Connection;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.UUID;
import javax.sql.DataSource;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/** A table of events. It is safe for concurrent use. */
public final class Outbox {
    private static final Logger LOG = LoggerFactory.getLogger(Outbox.class);
    /** The maximum number of events that one transaction publishes. */
    private static final int BATCH = 100;
    /** The interval at which a relay looks for events. */
    private static final Duration POLL = Duration.ofMillis(200);
    /** The longest delay after a failure. */
    private static final Duration MAX_DELAY = Duration.ofSeconds(10);

    private final DataSource source;
    private final Database database;

    private Outbox(DataSource source, Database database) {
        this.source = source;
        this.database = database;
    }

    /**
     * An event.
     *
     * @param id unique, and the same for every publication of the event
     * @param topic the kind of the event
     * @param payload the payload
     */
    public record Event(String id, String topic, Json payload) {}

    /** Publishes events. */
    @FunctionalInterface
    public interface Publisher {
        /**
         * Publishes an event.
         *
         * @param event the event
         * @throws Exception if the event must be published again later
         */
        void publish(Event event) throws Exception;
    }

    /**
     * Returns an outbox in a PostgreSQL database.
     *
     * @param source the data source of the participant
     * @return the outbox
     */
    public static Outbox postgres(DataSource source) {
        return new Outbox(source, Database.POSTGRES);
    }

    /**
     * Returns an outbox in a database of MySQL 8, or of MariaDB 10.6 or later.
     *
     * @param source the data source of the participant
     * @return the outbox
     */
    public static Outbox mysql(DataSource source) {
        return new Outbox(source, Database.MYSQL);
    }

    /**
     * Returns an outbox in an SQLite database.
     *
     * @param source the data source of the participant
     * @return the outbox
     */
    public static Outbox sqlite(DataSource source) {
        return new Outbox(source, Database.SQLITE);
    }

    /**
     * Returns an outbox in the database that a data source connects to.
     *
     * @param source the data source of the participant
     * @return the outbox
     * @throws SQLException if the database is not supported or cannot be reached
     */
    public static Outbox of(DataSource source) throws SQLException {
        return new Outbox(source, Database.of(source));
    }

    /**
     * Creates the missing objects of the outbox. Call it at every start. Concurrent calls are safe.
     *
     * @throws SQLException if the database refuses it
     */
    public void migrate() throws SQLException {
        database.migrate(source, migration());
    }

    /**
     * Returns the migration, for tools that apply it instead of {@link #migrate()}. It can be repeated.
     *
     * @return the SQL
     */
    public String migration() {
        return database.migration(Outbox.class);
    }

    /**
     * Adds an event in a transaction of the caller.
     *
     * @param connection the connection of the transaction
     * @param topic the kind of the event
     * @param payload the payload, which is converted to JSON
     * @return the id of the event
     * @throws SQLException if the database refuses it
     */
    public String emit(Connection connection, String topic, Object payload) throws SQLException {
        String id = UUID.randomUUID().toString();
        try (PreparedStatement insert =
                connection.prepareStatement("INSERT INTO goconductor_outbox (id, topic, payload) VALUES (?, ?, ?)")) {
            insert.setString(1, id);
            insert.setString(2, topic);
            insert.setString(3, Json.of(payload).text());
            insert.executeUpdate();
        }
        return id;
    }

    /**
     * Publishes events until the thread is interrupted. An event whose publication fails is published again later, and does
     * not delay the others of its batch. Several relays can run at a time. On PostgreSQL and MySQL they share the events. On
     * SQLite one works at a time, and other transactions wait until its batch is published, so that the publisher must be
     * fast. Events of concurrent transactions are in no order.
     *
     * @param publisher the publisher
     * @throws InterruptedException if the thread is interrupted
     */
    public void relay(Publisher publisher) throws InterruptedException {
        Duration delay = POLL;
        while (true) {
            try {
                if (flush(publisher) == BATCH) {
                    continue;
                }
                delay = POLL;
            } catch (SQLException | PublicationException e) {
                LOG.warn("the outbox failed to publish events", e);
                delay = delay.multipliedBy(2).compareTo(MAX_DELAY) < 0 ? delay.multipliedBy(2) : MAX_DELAY;
            }
            Thread.sleep(delay.toMillis());
        }
    }

    /** Events were not published. The causes are the suppressed exceptions. */
    public static final class PublicationException extends Exception {
        private static final long serialVersionUID = 1;

        PublicationException(int events) {
            super(events + " events were not published, and will be published again later");
        }
    }

    /**
     * Publishes at most 100 events.
     *
     * @param publisher the publisher
     * @return the number of events that were published
     * @throws SQLException if the database refuses it
     * @throws PublicationException if the publication of events failed; the others were published
     * @throws InterruptedException if the thread is interrupted; no event is removed
     */
    public int flush(Publisher publisher) throws SQLException, PublicationException, InterruptedException {
        List<Exception> failures = new ArrayList<>();
        int[] published = new int[1];
        try (Connection connection = source.getConnection()) {
            int isolation = connection.getTransactionIsolation();
            if (database == Database.MYSQL) {
                // The default level would lock the gap after the last event, in which transactions insert theirs.
                connection.setTransactionIsolation(Connection.TRANSACTION_READ_COMMITTED);
            }
            try {
                Database.transact(connection, () -> {
                    List<Locked> events = lock(connection);
                    for (Locked locked : events) {
                        try {
                            publisher.publish(locked.event);
                        } catch (InterruptedException e) {
                            Thread.currentThread().interrupt();
                            return false;
                        } catch (Exception e) {
                            failures.add(e);
                            continue;
                        }
                        remove(connection, locked.number);
                        published[0]++;
                    }
                    return true;
                });
            } finally {
                if (database == Database.MYSQL) {
                    connection.setTransactionIsolation(isolation);
                }
            }
        }
        if (Thread.interrupted()) {
            throw new InterruptedException("the outbox was interrupted");
        }
        if (!failures.isEmpty()) {
            PublicationException failure = new PublicationException(failures.size());
            failures.forEach(failure::addSuppressed);
            throw failure;
        }
        return published[0];
    }

    private record Locked(long number, Event event) {}

    /** Locks the oldest events. */
    private List<Locked> lock(Connection connection) throws SQLException {
        String query = "SELECT seq, id, topic, payload FROM goconductor_outbox ORDER BY seq LIMIT " + BATCH;
        List<Locked> events = new ArrayList<>();
        try (Statement statement = connection.createStatement()) {
            if (database == Database.SQLITE) {
                // A write locks the database, so that no other relay reads the same events.
                statement.executeUpdate("UPDATE goconductor_outbox SET topic = topic WHERE seq < 0");
            } else {
                query += " FOR UPDATE SKIP LOCKED";
            }
            try (ResultSet rows = statement.executeQuery(query)) {
                while (rows.next()) {
                    events.add(new Locked(rows.getLong(1),
                            new Event(rows.getString(2), rows.getString(3), new Json(rows.getString(4)))));
                }
            }
        }
        return events;
    }

    private static void remove(Connection connection, long number) throws SQLException {
        try (PreparedStatement delete = connection.prepareStatement("DELETE FROM goconductor_outbox WHERE seq = ?")) {
            delete.setLong(1, number);
            delete.executeUpdate();
        }
    }
}
