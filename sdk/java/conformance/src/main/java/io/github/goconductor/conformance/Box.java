package io.github.goconductor.conformance;

import io.github.goconductor.ActionException;
import io.github.goconductor.Attempt;
import io.github.goconductor.Json;
import io.github.goconductor.Operation;
import io.github.goconductor.inbox.Inbox;
import java.sql.Connection;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import org.sqlite.SQLiteConfig;
import org.sqlite.SQLiteDataSource;

/** The database of the participant, with its inbox and its effects. */
final class Box {
    private final SQLiteDataSource source;
    private final Inbox inbox;
    private final String broken;

    Box(String file, String broken) throws SQLException {
        SQLiteConfig config = new SQLiteConfig();
        config.setBusyTimeout(30_000);
        config.setJournalMode(SQLiteConfig.JournalMode.WAL);
        source = new SQLiteDataSource(config);
        source.setUrl("jdbc:sqlite:" + file);
        inbox = Inbox.sqlite(source);
        this.broken = broken;
        inbox.migrate();
        execute("CREATE TABLE IF NOT EXISTS effects (seq INTEGER PRIMARY KEY, step TEXT NOT NULL, operation TEXT NOT NULL)");
    }

    private void execute(String sql) throws SQLException {
        try (Connection connection = source.getConnection(); Statement statement = connection.createStatement()) {
            statement.execute(sql);
        }
    }

    /** Records the effect of an attempt through the inbox. */
    String run(Attempt attempt, String key, Script.InboxStep step) throws Exception {
        String output;
        if (attempt.operation() == Operation.EXECUTE) {
            output = inbox.execute(key, connection -> {
                record(connection, attempt);
                return new Json(Script.text(step.output()));
            }).text();
        } else {
            output = "null";
            inbox.compensate(key, (connection, done) -> record(connection, attempt));
            if (broken.equals("inbox-without-tombstone")) {
                execute("DELETE FROM goconductor_inbox WHERE undone AND NOT done");
            }
        }
        if (step.die()) {
            Script.die();
        }
        if ("lost".equals(step.answer())) {
            throw ActionException.unknown("LOST", "the response was lost");
        }
        return output;
    }

    private static void record(Connection connection, Attempt attempt) throws SQLException {
        try (PreparedStatement insert =
                connection.prepareStatement("INSERT INTO effects (step, operation) VALUES (?, ?)")) {
            insert.setString(1, attempt.step());
            insert.setString(2, attempt.operation().toString());
            insert.executeUpdate();
        }
    }

    /** Returns the effects, in order. */
    List<Map<String, Object>> effects() throws SQLException {
        List<Map<String, Object>> effects = new ArrayList<>();
        try (Connection connection = source.getConnection();
                Statement statement = connection.createStatement();
                ResultSet rows = statement.executeQuery("SELECT step, operation FROM effects ORDER BY seq")) {
            while (rows.next()) {
                effects.add(Output.object("step", rows.getString(1), "operation", rows.getString(2)));
            }
        }
        return effects;
    }
}
