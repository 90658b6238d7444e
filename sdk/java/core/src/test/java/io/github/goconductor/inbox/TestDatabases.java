package io.github.goconductor.inbox;

import com.mysql.cj.jdbc.MysqlDataSource;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.sql.Connection;
import java.sql.SQLException;
import java.sql.Statement;
import java.util.Objects;
import java.util.UUID;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import javax.sql.DataSource;
import org.junit.jupiter.api.Assertions;
import org.junit.jupiter.api.Assumptions;
import org.postgresql.ds.PGSimpleDataSource;
import org.sqlite.SQLiteConfig;
import org.sqlite.SQLiteDataSource;

/** The databases of the tests. Each call returns an empty one. */
public final class TestDatabases {
    private static final Pattern POSTGRES_URL =
            Pattern.compile("postgres(?:ql)?://([^:@/]*)(?::([^@/]*))?@([^:/?]+)(?::(\\d+))?/([^?]*).*");
    private static final Pattern MYSQL_DSN = Pattern.compile("([^:@]*)(?::([^@]*))?@tcp\\(([^:)]+):(\\d+)\\)/([^?]*).*");

    private TestDatabases() {}

    /**
     * Returns a database.
     *
     * @param kind sqlite, postgres or mysql
     * @return the data source
     * @throws Exception if it cannot be created
     */
    public static DataSource open(String kind) throws Exception {
        return switch (kind) {
            case "sqlite" -> sqlite();
            case "postgres" -> postgres();
            default -> mysql();
        };
    }

    private static DataSource sqlite() throws IOException {
        Path file = Files.createTempDirectory("goconductor-inbox").resolve("participant.db");
        SQLiteConfig config = new SQLiteConfig();
        config.setBusyTimeout(30_000);
        config.setJournalMode(SQLiteConfig.JournalMode.WAL);
        SQLiteDataSource source = new SQLiteDataSource(config);
        source.setUrl("jdbc:sqlite:" + file);
        return source;
    }

    private static DataSource postgres() throws SQLException {
        Matcher url = address("GOCONDUCTOR_TEST_POSTGRES_URL", POSTGRES_URL);
        PGSimpleDataSource source = new PGSimpleDataSource();
        source.setServerNames(new String[] {url.group(3)});
        source.setPortNumbers(new int[] {Integer.parseInt(Objects.requireNonNullElse(url.group(4), "5432"))});
        source.setDatabaseName(url.group(5));
        source.setUser(url.group(1));
        source.setPassword(url.group(2));
        String schema = name();
        execute(source, "CREATE SCHEMA " + schema);
        source.setCurrentSchema(schema);
        return source;
    }

    private static DataSource mysql() throws SQLException {
        Matcher dsn = address("GOCONDUCTOR_TEST_MYSQL_DSN", MYSQL_DSN);
        MysqlDataSource source = new MysqlDataSource();
        source.setServerName(dsn.group(3));
        source.setPort(Integer.parseInt(dsn.group(4)));
        source.setUser(dsn.group(1));
        source.setPassword(Objects.requireNonNullElse(dsn.group(2), ""));
        source.setDatabaseName(dsn.group(5));
        String database = name();
        execute(source, "CREATE DATABASE " + database);
        source.setDatabaseName(database);
        return source;
    }

    /** Skips the test without a server, unless services are required. */
    private static Matcher address(String variable, Pattern form) {
        String value = System.getenv(variable);
        if (value == null || value.isEmpty()) {
            if ("1".equals(System.getenv("GOCONDUCTOR_TEST_REQUIRE_SERVICES"))) {
                Assertions.fail(variable + " is not set");
            }
            Assumptions.abort(variable + " is not set");
        }
        Matcher matcher = form.matcher(value);
        Assertions.assertTrue(matcher.matches(), variable + " has another form than " + form);
        return matcher;
    }

    private static String name() {
        return "test_" + UUID.randomUUID().toString().replace("-", "");
    }

    static void execute(DataSource source, String sql) throws SQLException {
        try (Connection connection = source.getConnection(); Statement statement = connection.createStatement()) {
            statement.execute(sql);
        }
    }
}
