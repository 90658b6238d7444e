package io.github.goconductor.examples.ordersaga;

import io.github.goconductor.Client;
import io.github.goconductor.Service;
import io.github.goconductor.inbox.Inbox;
import java.sql.Connection;
import java.sql.SQLException;
import java.sql.Statement;
import java.util.Map;
import java.util.function.Function;
import javax.sql.DataSource;
import org.sqlite.SQLiteConfig;
import org.sqlite.SQLiteDataSource;

/**
 * The services inventory, payments and shipping of examples/order-saga in Java: typed actions with their compensations, a
 * database each, and an inbox in it. The arguments are the name of a service and the path of its database.
 */
final class OrderSaga {
    private static final String[] TABLES = {
        "CREATE TABLE IF NOT EXISTS stock (sku TEXT PRIMARY KEY, available INTEGER NOT NULL)",
        "CREATE TABLE IF NOT EXISTS reservations (order_id TEXT PRIMARY KEY, sku TEXT NOT NULL)",
        "CREATE TABLE IF NOT EXISTS payments (order_id TEXT PRIMARY KEY, amount REAL NOT NULL)",
        "CREATE TABLE IF NOT EXISTS parcels (order_id TEXT PRIMARY KEY, address TEXT NOT NULL)",
        "INSERT OR IGNORE INTO stock VALUES ('book', 1000)",
    };
    private static final Map<String, Function<Inbox, Service>> SERVICES = Map.of(
            "inventory", Services::inventory, "payments", Services::payments, "shipping", Services::shipping);

    private OrderSaga() {}

    public static void main(String[] arguments) throws SQLException {
        if (arguments.length != 2 || !SERVICES.containsKey(arguments[0])) {
            System.err.println("usage: OrderSaga inventory|payments|shipping DATABASE");
            System.exit(2);
        }
        Inbox inbox = Inbox.sqlite(open(arguments[1]));
        try (Client client = Client.fromEnvironment().build()) {
            client.run(SERVICES.get(arguments[0]).apply(inbox));
        }
    }

    /** Opens a database, which is created if it does not exist. */
    static DataSource open(String file) throws SQLException {
        SQLiteConfig config = new SQLiteConfig();
        config.setBusyTimeout(30_000);
        config.setJournalMode(SQLiteConfig.JournalMode.WAL);
        SQLiteDataSource source = new SQLiteDataSource(config);
        source.setUrl("jdbc:sqlite:" + file);
        Inbox.sqlite(source).migrate();
        try (Connection connection = source.getConnection(); Statement statement = connection.createStatement()) {
            for (String table : TABLES) {
                statement.execute(table);
            }
        }
        return source;
    }
}
