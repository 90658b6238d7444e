package io.github.goconductor.inbox;

import io.github.goconductor.ActionException;
import io.github.goconductor.Attempt;
import io.github.goconductor.GoConductorException;
import io.github.goconductor.Json;
import io.github.goconductor.Operation;
import io.github.goconductor.internal.Database;
import java.sql.Connection;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.time.Duration;
import java.util.Optional;
import javax.sql.DataSource;

/**
 * The inbox of a participant. It is safe for concurrent use.
 *
 * <p>Invariants: transactions for one step run one after another; no execute takes effect after its compensate; no operation
 * takes effect twice, until {@link #prune} removes its record.
 */
public final class Inbox {
    /** The number of deadlocks after which a request is left to the next attempt. */
    private static final int MAX_DEADLOCKS = 10;
    /** The error of MySQL for a deadlock. */
    private static final int MYSQL_DEADLOCK = 1213;

    private final DataSource source;
    private final Database database;

    private Inbox(DataSource source, Database database) {
        this.source = source;
        this.database = database;
    }

    /**
     * Returns an inbox in a PostgreSQL database.
     *
     * @param source the data source of the participant
     * @return the inbox
     */
    public static Inbox postgres(DataSource source) {
        return new Inbox(source, Database.POSTGRES);
    }

    /**
     * Returns an inbox in a database of MySQL 8, or of MariaDB 10.6 or later.
     *
     * @param source the data source of the participant
     * @return the inbox
     */
    public static Inbox mysql(DataSource source) {
        return new Inbox(source, Database.MYSQL);
    }

    /**
     * Returns an inbox in an SQLite database. Set a busy timeout, so that transactions wait for each other.
     *
     * @param source the data source of the participant
     * @return the inbox
     */
    public static Inbox sqlite(DataSource source) {
        return new Inbox(source, Database.SQLITE);
    }

    /**
     * Returns an inbox in the database that a data source connects to.
     *
     * @param source the data source of the participant
     * @return the inbox
     * @throws SQLException if the database is not supported or cannot be reached
     */
    public static Inbox of(DataSource source) throws SQLException {
        return new Inbox(source, Database.of(source));
    }

    /**
     * Creates the missing objects of the inbox. Call it at every start. Concurrent calls are safe.
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
        return database.migration(Inbox.class);
    }

    /**
     * The work of an action in a transaction.
     *
     * @param <O> the type of the output
     */
    @FunctionalInterface
    public interface Work<O> {
        /**
         * Does the work. It neither commits nor rolls back.
         *
         * @param connection the connection of the transaction
         * @return the output, which is converted to JSON and stored
         * @throws Exception if the work failed; its changes are rolled back
         */
        O run(Connection connection) throws Exception;
    }

    /**
     * The work of a compensation in a transaction.
     *
     * @param <O> the type of the output of the execute
     */
    @FunctionalInterface
    public interface Undo<O> {
        /**
         * Undoes the work. It neither commits nor rolls back.
         *
         * @param connection the connection of the transaction
         * @param output the output of the execute
         * @throws Exception if the work failed; its changes are rolled back
         */
        void run(Connection connection, O output) throws Exception;
    }

    /**
     * Does the work of an action once, and records its output in the same transaction. A repeat returns the stored output.
     *
     * @param <O> the type of the output
     * @param attempt the attempt
     * @param type the class of the output
     * @param work the work, which is not called for a repeat
     * @return the output
     * @throws ActionException a refusal with the code {@code UNDONE} if the compensate arrived first
     * @throws Exception the exception of the work, whose changes are rolled back
     */
    public <O> O execute(Attempt attempt, Class<O> type, Work<? extends O> work) throws Exception {
        return stored(execute(attempt.key(), work), type);
    }

    /**
     * Does the work of an action once, with a key, see {@link #execute(Attempt, Class, Work)}.
     *
     * @param key the idempotency key of the attempt
     * @param work the work, which is not called for a repeat
     * @return the output
     * @throws InvalidKeyException if the text is not a key of an execute
     * @throws Exception the exception of the work, whose changes are rolled back
     */
    public Json execute(String key, Work<?> work) throws Exception {
        return transact(connection -> {
            Decision decision = begin(connection, () -> beginExecute(connection, key));
            switch (decision.verdict()) {
                case REPEAT -> {
                    return new Outcome(decision.output(), false);
                }
                case FIRST -> {
                    Object result = work.run(connection);
                    Json output;
                    try {
                        output = Json.of(result);
                    } catch (GoConductorException e) {
                        throw ActionException.unknown("BAD_OUTPUT", e.getMessage()).withCause(e);
                    }
                    record(() -> finishExecute(connection, key, output));
                    return new Outcome(output, true);
                }
                default -> throw ActionException.refused(
                        "UNDONE", "the step was compensated before it was executed");
            }
        });
    }

    /**
     * Undoes the work of an action once, and records this in the same transaction.
     *
     * @param <O> the type of the output of the execute
     * @param attempt the attempt
     * @param type the class of the output of the execute
     * @param work the work, which receives the output; it is not called for a repeat, and if the execute never arrived
     * @throws Exception the exception of the work, whose changes are rolled back
     */
    public <O> void compensate(Attempt attempt, Class<O> type, Undo<? super O> work) throws Exception {
        compensate(attempt.key(), (connection, output) -> work.run(connection, stored(output, type)));
    }

    /**
     * Undoes the work of an action once, with a key, see {@link #compensate(Attempt, Class, Undo)}.
     *
     * @param key the idempotency key of the attempt
     * @param work the work
     * @throws InvalidKeyException if the text is not a key of a compensate
     * @throws Exception the exception of the work, whose changes are rolled back
     */
    public void compensate(String key, Undo<? super Json> work) throws Exception {
        transact(connection -> {
            Decision decision = begin(connection, () -> beginCompensate(connection, key));
            switch (decision.verdict()) {
                case REPEAT -> {
                    return new Outcome(Json.NULL, false);
                }
                case NOTHING -> {
                    return new Outcome(Json.NULL, true);
                }
                default -> {
                    work.run(connection, decision.output());
                    record(() -> finishCompensate(connection, key, Json.NULL));
                    return new Outcome(Json.NULL, true);
                }
            }
        });
    }

    private static <O> O stored(Json output, Class<O> type) {
        try {
            return output.as(type);
        } catch (GoConductorException e) {
            throw ActionException.unknown(
                    "STORED_OUTPUT", "the inbox has an output of another form: " + e.getMessage()).withCause(e);
        }
    }

    /** The output of a transaction, and whether to commit it. */
    private record Outcome(Json output, boolean commit) {}

    private interface Transaction {
        Outcome run(Connection connection) throws Exception;
    }

    private interface Begin {
        Decision run() throws SQLException;
    }

    private interface Record {
        void run() throws SQLException;
    }

    /** A decision that the database ended. The work has not begun. */
    private static final class Deadlock extends Exception {
        private static final long serialVersionUID = 1;

        Deadlock(SQLException cause) {
            super(cause);
        }
    }

    private Decision begin(Connection connection, Begin decide) throws Deadlock {
        try {
            return decide.run();
        } catch (SQLException e) {
            // MySQL reports a deadlock if several transactions wait for a new record whose transaction is rolled back.
            if (database == Database.MYSQL && e.getErrorCode() == MYSQL_DEADLOCK) {
                throw new Deadlock(e);
            }
            throw rolledBack(e);
        }
    }

    private static void record(Record finish) {
        try {
            finish.run();
        } catch (SQLException e) {
            throw rolledBack(e);
        }
    }

    /** Returns the outcome of a transaction that had no effect. */
    private static ActionException rolledBack(SQLException e) {
        return ActionException.retryable("DATABASE", String.valueOf(e.getMessage())).withCause(e);
    }

    /** Runs a transaction. It repeats a decision that ended in a deadlock. */
    private Json transact(Transaction transaction) throws Exception {
        for (int attempt = 1;; attempt++) {
            try {
                return once(transaction);
            } catch (Deadlock e) {
                if (attempt == MAX_DEADLOCKS) {
                    throw rolledBack((SQLException) e.getCause());
                }
            }
        }
    }

    private Json once(Transaction transaction) throws Exception {
        Connection connection;
        boolean automatic;
        try {
            connection = source.getConnection();
        } catch (SQLException e) {
            throw rolledBack(e);
        }
        try (connection) {
            try {
                automatic = connection.getAutoCommit();
                connection.setAutoCommit(false);
            } catch (SQLException e) {
                throw rolledBack(e);
            }
            Outcome outcome;
            try {
                outcome = transaction.run(connection);
                if (!outcome.commit) {
                    connection.rollback();
                }
            } catch (Throwable e) {
                rollBack(connection, automatic, e);
                throw e;
            }
            if (outcome.commit) {
                try {
                    connection.commit();
                } catch (SQLException e) {
                    rollBack(connection, automatic, e);
                    // The commit may have taken effect. The next attempt finds its record.
                    throw ActionException.unknown("DATABASE", String.valueOf(e.getMessage())).withCause(e);
                }
            }
            connection.setAutoCommit(automatic);
            return outcome.output;
        }
    }

    /** Rolls a transaction back and restores the mode of its connection, which some pools lend as it is. */
    private static void rollBack(Connection connection, boolean automatic, Throwable reason) {
        try {
            connection.rollback();
            // The change of the mode would commit a transaction that was not rolled back.
            connection.setAutoCommit(automatic);
        } catch (SQLException e) {
            reason.addSuppressed(e);
        }
    }

    /**
     * Decides on an execute in a transaction of the caller. It waits for other transactions of the same step.
     *
     * @param connection the connection of the transaction
     * @param key the idempotency key
     * @return the decision
     * @throws SQLException if the database refuses it
     * @throws InvalidKeyException if the text is not a key of an execute
     */
    public Decision beginExecute(Connection connection, String key) throws SQLException {
        return begin(connection, key, Operation.EXECUTE);
    }

    /**
     * Records the output of an execute.
     *
     * @param connection the connection of the transaction
     * @param key the idempotency key
     * @param output the output
     * @throws SQLException if the database refuses it
     * @throws InvalidKeyException if the text is not a key of an execute
     */
    public void finishExecute(Connection connection, String key, Json output) throws SQLException {
        finish(connection, key, Operation.EXECUTE, output);
    }

    /**
     * Decides on a compensate in a transaction of the caller. It waits for other transactions of the same step. The decision
     * {@link Verdict#NOTHING} is recorded, so that the transaction must be committed.
     *
     * @param connection the connection of the transaction
     * @param key the idempotency key
     * @return the decision
     * @throws SQLException if the database refuses it
     * @throws InvalidKeyException if the text is not a key of a compensate
     */
    public Decision beginCompensate(Connection connection, String key) throws SQLException {
        return begin(connection, key, Operation.COMPENSATE);
    }

    /**
     * Records the output of a compensate.
     *
     * @param connection the connection of the transaction
     * @param key the idempotency key
     * @param output the output
     * @throws SQLException if the database refuses it
     * @throws InvalidKeyException if the text is not a key of a compensate
     */
    public void finishCompensate(Connection connection, String key, Json output) throws SQLException {
        finish(connection, key, Operation.COMPENSATE, output);
    }

    /**
     * Removes older records. A request whose record was removed would take effect again, so that the age must exceed the
     * longest lifetime of a workflow.
     *
     * @param older the age
     * @return the number of removed records
     * @throws SQLException if the database refuses it
     */
    public long prune(Duration older) throws SQLException {
        String statement = switch (database) {
            case POSTGRES -> "DELETE FROM goconductor_inbox WHERE at < now() - ? * interval '1 second'";
            case MYSQL -> "DELETE FROM goconductor_inbox WHERE at < CURRENT_TIMESTAMP(6) - INTERVAL ? SECOND";
            case SQLITE -> "DELETE FROM goconductor_inbox WHERE at < CAST(strftime('%s', 'now') AS INTEGER) - ?";
        };
        try (Connection connection = source.getConnection();
                PreparedStatement delete = connection.prepareStatement(statement)) {
            delete.setLong(1, older.toSeconds());
            long removed = delete.executeLargeUpdate();
            if (!connection.getAutoCommit()) {
                connection.commit();
            }
            return removed;
        }
    }

    /**
     * Returns the workflow and the step of a key {@code <workflow>/<step>/<execute or compensate>}, the common part of both
     * operations.
     *
     * @param key the idempotency key
     * @param operation the operation
     * @return {@code <workflow>/<step>}
     * @throws InvalidKeyException if the text is not a key of the operation
     */
    public static String stepOf(String key, Operation operation) {
        String[] parts = key.split("/", -1);
        if (parts.length != 3 || parts[0].isEmpty() || parts[1].isEmpty() || !parts[2].equals(operation.toString())) {
            throw new InvalidKeyException("invalid idempotency key \"" + key + "\": expected <workflow>/<step>/" + operation);
        }
        return parts[0] + "/" + parts[1];
    }

    private Decision begin(Connection connection, String key, Operation operation) throws SQLException {
        String step = stepOf(key, operation);
        if (database == Database.POSTGRES) {
            try (PreparedStatement query = connection.prepareStatement(
                    "SELECT verdict, output FROM goconductor_inbox_" + operation + "(?)")) {
                query.setString(1, key);
                try (ResultSet rows = query.executeQuery()) {
                    rows.next();
                    return new Decision(
                            Verdict.valueOf(rows.getString(1).toUpperCase(java.util.Locale.ROOT)), json(rows.getString(2)));
                }
            }
        }
        Decision decision = decide(connection, step, operation);
        if (decision.verdict() == Verdict.NOTHING) {
            // The record refuses an execute that arrives later.
            update(connection, "UPDATE goconductor_inbox SET undone = TRUE WHERE step = ?", step);
        }
        return decision;
    }

    /**
     * Creates the record of a step if it does not exist, locks it, and decides by its content. The insert comes first, so that SQLite
     * locks the database for the whole decision, and so that two transactions of MySQL cannot wait for each other.
     */
    private Decision decide(Connection connection, String step, Operation operation) throws SQLException {
        boolean mysql = database == Database.MYSQL;
        update(connection, "INSERT INTO goconductor_inbox (step) VALUES (?) "
                + (mysql ? "ON DUPLICATE KEY UPDATE step = step" : "ON CONFLICT DO NOTHING"), step);
        // MariaDB reserves the word undo. SQLite accepts its quotes.
        String select = "SELECT done, output, undone, `undo` FROM goconductor_inbox WHERE step = ?"
                + (mysql ? " FOR UPDATE" : "");
        try (PreparedStatement query = connection.prepareStatement(select)) {
            query.setString(1, step);
            try (ResultSet row = query.executeQuery()) {
                row.next();
                boolean done = row.getBoolean(1);
                boolean undone = row.getBoolean(3);
                if (operation == Operation.EXECUTE) {
                    if (undone) {
                        return new Decision(Verdict.REFUSED, Json.NULL);
                    }
                    return done ? new Decision(Verdict.REPEAT, json(row.getString(2)))
                            : new Decision(Verdict.FIRST, Json.NULL);
                }
                if (undone) {
                    return new Decision(Verdict.REPEAT, json(row.getString(4)));
                }
                return done ? new Decision(Verdict.FIRST, json(row.getString(2)))
                        : new Decision(Verdict.NOTHING, Json.NULL);
            }
        }
    }

    private void finish(Connection connection, String key, Operation operation, Json output) throws SQLException {
        String step = stepOf(key, operation);
        if (database == Database.POSTGRES) {
            String function = operation == Operation.EXECUTE ? "done" : "undone";
            try (PreparedStatement call = connection.prepareStatement("SELECT goconductor_inbox_" + function + "(?, ?)")) {
                call.setString(1, key);
                call.setString(2, output.text());
                call.execute();
            }
            return;
        }
        update(connection, operation == Operation.EXECUTE
                ? "UPDATE goconductor_inbox SET done = TRUE, output = ? WHERE step = ?"
                : "UPDATE goconductor_inbox SET undone = TRUE, `undo` = ? WHERE step = ?", output.text(), step);
    }

    private static void update(Connection connection, String sql, String... values) throws SQLException {
        try (PreparedStatement statement = connection.prepareStatement(sql)) {
            for (int index = 0; index < values.length; index++) {
                statement.setString(index + 1, values[index]);
            }
            statement.executeUpdate();
        }
    }

    private static Json json(String text) {
        return Optional.ofNullable(text).map(Json::new).orElse(Json.NULL);
    }
}
