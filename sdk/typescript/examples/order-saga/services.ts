import { Refused, Service } from "@goconductor/sdk";
import type { Inbox } from "@goconductor/sdk/inbox";
import type Database from "libsql";

/** The inbox of a participant with an SQLite database. */
export type Box = Inbox<Database.Database>;

/** The input of the saga. A service reads the fields that it needs. */
export interface Order {
  order_id: string;
  sku: string;
  amount: number;
  to?: string;
}

export function inventory(inbox: Box): Service {
  return new Service("inventory").pair<Order, { sku: string }>(
    "reserve", (order, attempt) => inbox.execute(attempt, (db) => {
      const taken = db.prepare("UPDATE stock SET available = available - 1 WHERE sku = ? AND available > 0").run(order.sku);
      if (taken.changes === 0) {
        throw new Refused("OUT_OF_STOCK", `${order.sku} is out of stock`);
      }
      db.prepare("INSERT INTO reservations VALUES (?, ?)").run(order.order_id, order.sku);
      return { sku: order.sku };
    }),
    "release", ({ input }, attempt) => inbox.compensate<{ sku: string }>(attempt, (db, { sku }) => {
      db.prepare("UPDATE stock SET available = available + 1 WHERE sku = ?").run(sku);
      db.prepare("DELETE FROM reservations WHERE order_id = ?").run(input.order_id);
    }),
  );
}

// ANCHOR: payments
export function payments(inbox: Box): Service {
  return new Service("payments").pair<Order, { payment_id: string }>(
    "charge", (order, attempt) => {
      if (order.amount > 10_000) {
        throw new Refused("CREDIT_LIMIT", "the amount exceeds the credit limit");
      }
      return inbox.execute(attempt, (db) => {
        db.prepare("INSERT INTO payments VALUES (?, ?)").run(order.order_id, order.amount);
        return { payment_id: `payment-${order.order_id}` };
      });
    },
    "refund", ({ input }, attempt) => inbox.compensate(attempt, (db) => {
      db.prepare("DELETE FROM payments WHERE order_id = ?").run(input.order_id);
    }),
  );
}
// ANCHOR_END: payments

export function shipping(inbox: Box): Service {
  return new Service("shipping").pair<Order, { parcel: string }>(
    "ship", (order, attempt) => {
      if (order.to === "nowhere") {
        throw new Refused("UNKNOWN_ADDRESS", "no carrier delivers to nowhere");
      }
      return inbox.execute(attempt, (db) => {
        db.prepare("INSERT INTO parcels VALUES (?, ?)").run(order.order_id, order.to ?? "");
        return { parcel: `parcel-${order.order_id}` };
      });
    },
    "recall", ({ input }, attempt) => inbox.compensate(attempt, (db) => {
      db.prepare("DELETE FROM parcels WHERE order_id = ?").run(input.order_id);
    }),
  );
}
