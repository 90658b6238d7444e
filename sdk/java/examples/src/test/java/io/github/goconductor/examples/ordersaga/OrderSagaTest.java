package io.github.goconductor.examples.ordersaga;

import static org.junit.jupiter.api.Assertions.assertEquals;

import io.github.goconductor.WorkflowStatus;
import io.github.goconductor.examples.ordersaga.Services.Order;
import io.github.goconductor.inbox.Inbox;
import io.github.goconductor.testkit.Attempts;
import io.github.goconductor.testkit.Fault;
import io.github.goconductor.testkit.Run;
import io.github.goconductor.testkit.Saga;
import io.github.goconductor.testkit.TestServer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.sql.Connection;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.util.List;
import javax.sql.DataSource;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

final class OrderSagaTest {
    /** The definition of the same saga in Rust. */
    private static final Path DEFINITION = Path.of("../../../examples/order-saga/order.yaml");

    private int number;
    private int expected;

    private Order next(String to) {
        number++;
        return new Order("o-" + number, "book", 42, to);
    }

    @Test
    void eachFaultAtEachStepLeavesTheTablesConsistent(@TempDir Path folder) throws Exception {
        DataSource source = OrderSaga.open(folder.resolve("shop.db").toString());
        Inbox inbox = Inbox.sqlite(source);
        try (TestServer server = TestServer.start()) {
            Saga saga = Saga.of(server, "order", Files.readString(DEFINITION),
                    Services.inventory(inbox), Services.payments(inbox), Services.shipping(inbox));
            for (String step : List.of("reserve", "charge", "ship")) {
                for (Fault fault : List.of(Fault.REFUSE, Fault.FAIL, Fault.UNKNOWN, Fault.CRASH, Fault.DUPLICATE)) {
                    Run run = saga.inject(Attempts.onExecute(step), fault).run(next("Main Street 1"));
                    check(source, run, fault != Fault.REFUSE);
                }
            }
            Run run = saga.inject(Attempts.onCompensate("charge"), Fault.CRASH)
                    .inject(Attempts.onCompensate("reserve"), Fault.UNKNOWN).run(next("nowhere"));
            run.assertCompensated("charge", "reserve");
            check(source, run, false);
        }
    }

    private void check(DataSource source, Run run, boolean completes) throws SQLException {
        run.assertStatus(completes ? WorkflowStatus.COMPLETED : WorkflowStatus.ROLLED_BACK).assertNothingStands();
        expected += completes ? 1 : 0;
        String query = "SELECT (SELECT count(*) FROM reservations), (SELECT 1000 - available FROM stock WHERE sku = 'book'),"
                + " (SELECT count(*) FROM payments), (SELECT count(*) FROM parcels)";
        try (Connection connection = source.getConnection(); Statement statement = connection.createStatement();
                ResultSet row = statement.executeQuery(query)) {
            row.next();
            for (int column = 1; column <= 4; column++) {
                assertEquals(expected, row.getInt(column), run.timeline());
            }
        }
    }
}
