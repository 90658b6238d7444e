package io.github.goconductor.examples.ordersaga;

import com.fasterxml.jackson.annotation.JsonProperty;
import io.github.goconductor.ActionException;
import io.github.goconductor.Service;
import io.github.goconductor.inbox.Inbox;
import java.sql.Connection;
import java.sql.PreparedStatement;
import java.sql.SQLException;

/** The services of the order saga. */
final class Services {
    /** The input of the saga. A service reads the fields that it needs. */
    record Order(@JsonProperty("order_id") String orderId, String sku, double amount, String to) {}

    /** The output of inventory/reserve. */
    record Reservation(String sku) {}

    /** The output of payments/charge. */
    record Payment(@JsonProperty("payment_id") String paymentId) {}

    /** The output of shipping/ship. */
    record Shipment(String parcel) {}

    private Services() {}

    static Service inventory(Inbox inbox) {
        return Service.builder("inventory").pair(Order.class, Reservation.class,
                "reserve", (attempt, order) -> inbox.execute(attempt, Reservation.class, connection -> {
                    int taken = update(connection,
                            "UPDATE stock SET available = available - 1 WHERE sku = ? AND available > 0", order.sku());
                    if (taken == 0) {
                        throw ActionException.refused("OUT_OF_STOCK", order.sku() + " is out of stock");
                    }
                    update(connection, "INSERT INTO reservations VALUES (?, ?)", order.orderId(), order.sku());
                    return new Reservation(order.sku());
                }),
                "release", (attempt, undo) -> inbox.compensate(attempt, Reservation.class, (connection, done) -> {
                    update(connection, "UPDATE stock SET available = available + 1 WHERE sku = ?", done.sku());
                    update(connection, "DELETE FROM reservations WHERE order_id = ?", undo.input().orderId());
                })).build();
    }

    // ANCHOR: payments
    static Service payments(Inbox inbox) {
        return Service.builder("payments").pair(Order.class, Payment.class,
                "charge", (attempt, order) -> {
                    if (order.amount() > 10_000) {
                        throw ActionException.refused("CREDIT_LIMIT", "the amount exceeds the credit limit");
                    }
                    return inbox.execute(attempt, Payment.class, connection -> {
                        update(connection, "INSERT INTO payments VALUES (?, ?)", order.orderId(), order.amount());
                        return new Payment("payment-" + order.orderId());
                    });
                },
                "refund", (attempt, undo) -> inbox.compensate(attempt, Payment.class, (connection, payment) ->
                        update(connection, "DELETE FROM payments WHERE order_id = ?", undo.input().orderId())))
                .build();
    }
    // ANCHOR_END: payments

    static Service shipping(Inbox inbox) {
        return Service.builder("shipping").pair(Order.class, Shipment.class,
                "ship", (attempt, order) -> {
                    if ("nowhere".equals(order.to())) {
                        throw ActionException.refused("UNKNOWN_ADDRESS", "no carrier delivers to nowhere");
                    }
                    return inbox.execute(attempt, Shipment.class, connection -> {
                        update(connection, "INSERT INTO parcels VALUES (?, ?)", order.orderId(),
                                order.to() == null ? "" : order.to());
                        return new Shipment("parcel-" + order.orderId());
                    });
                },
                "recall", (attempt, undo) -> inbox.compensate(attempt, Shipment.class, (connection, shipment) ->
                        update(connection, "DELETE FROM parcels WHERE order_id = ?", undo.input().orderId())))
                .build();
    }

    private static int update(Connection connection, String sql, Object... values) throws SQLException {
        try (PreparedStatement statement = connection.prepareStatement(sql)) {
            for (int index = 0; index < values.length; index++) {
                statement.setObject(index + 1, values[index]);
            }
            return statement.executeUpdate();
        }
    }
}
