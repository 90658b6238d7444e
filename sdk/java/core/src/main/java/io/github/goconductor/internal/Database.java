package io.github.goconductor.internal;

import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.sql.Connection;
import java.sql.PreparedStatement;
import java.sql.SQLException;
import java.sql.Statement;
import java.util.Locale;
import javax.sql.DataSource;

/** The databases that the inbox and the outbox support. It is not part of the API. */
public enum Database {
    /** PostgreSQL. */
    POSTGRES,
    /** MySQL 8, and MariaDB 10.6 or later. */
    MYSQL,
    /** SQLite 3.35 or later. */
    SQLITE;

    /**
     * The key of the advisory lock of PostgreSQL under which one process at a time migrates. The inboxes of all languages
     * use the same number.
     */
    private static final long MIGRATION_LOCK = 0x676f_636f_696e_626fL;

    /**
     * Returns the database of a data source.
     *
     * @param source the data source
     * @return the database
     * @throws SQLException if the database is not supported or cannot be reached
     */
    public static Database of(DataSource source) throws SQLException {
        try (Connection connection = source.getConnection()) {
            String product = connection.getMetaData().getDatabaseProductName();
            return switch (product.toLowerCase(Locale.ROOT)) {
                case "postgresql" -> POSTGRES;
                case "mysql", "mariadb" -> MYSQL;
                case "sqlite" -> SQLITE;
                default -> throw new SQLException(
                        "the database " + product + " is not supported: use PostgreSQL, MySQL, MariaDB or SQLite");
            };
        }
    }

    /**
     * Returns the migration, which can be repeated.
     *
     * @param of the class in whose package it is
     * @return the SQL
     */
    public String migration(Class<?> of) {
        String name = name().toLowerCase(Locale.ROOT) + ".sql";
        try (InputStream text = of.getResourceAsStream(name)) {
            if (text == null) {
                throw new IllegalStateException("the archive of the SDK lacks " + name);
            }
            return new String(text.readAllBytes(), StandardCharsets.UTF_8);
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    /**
     * Runs a migration. Concurrent calls are safe.
     *
     * @param source the data source
     * @param script the SQL
     * @throws SQLException if the database refuses it
     */
    public void migrate(DataSource source, String script) throws SQLException {
        try (Connection connection = source.getConnection()) {
            if (this != POSTGRES) {
                try (Statement statement = connection.createStatement()) {
                    statement.execute(script);
                }
                if (!connection.getAutoCommit()) {
                    connection.commit();
                }
                return;
            }
            transact(connection, () -> {
                try (PreparedStatement lock = connection.prepareStatement("SELECT pg_advisory_xact_lock(?)")) {
                    lock.setLong(1, MIGRATION_LOCK);
                    lock.execute();
                }
                try (Statement statement = connection.createStatement()) {
                    statement.execute(script);
                }
                return true;
            });
        }
    }

    /** The work of a transaction. */
    @FunctionalInterface
    public interface Work {
        /**
         * Does the work.
         *
         * @return whether to commit
         * @throws SQLException if the work failed
         */
        boolean run() throws SQLException;
    }

    /**
     * Runs work in a transaction, which is rolled back if it fails.
     *
     * @param connection the connection
     * @param work the work
     * @throws SQLException if it failed
     */
    public static void transact(Connection connection, Work work) throws SQLException {
        boolean automatic = connection.getAutoCommit();
        connection.setAutoCommit(false);
        boolean commit = false;
        try {
            commit = work.run();
        } finally {
            if (commit) {
                connection.commit();
            } else {
                connection.rollback();
            }
            connection.setAutoCommit(automatic);
        }
    }
}
