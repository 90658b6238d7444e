// The microservice shipping, in TypeScript with SQLite.
import { Client, Refused, Service } from "@goconductor/sdk";
import { Inbox, sqlite } from "@goconductor/sdk/inbox";
import Database from "libsql";

/** The input of shipping/ship: that of the workflow. */
interface Order {
  order_id: string;
  to?: string;
}

function shipping(inbox: Inbox<Database.Database>): Service {
  return new Service("shipping").pair<Order, { parcel: string }>(
    "ship", (order, attempt) => {
      const { to = "" } = order;
      if (to === "nowhere") {
        throw new Refused("UNKNOWN_ADDRESS", "no carrier delivers to nowhere");
      }
      return inbox.execute(attempt, (db) => {
        db.prepare("INSERT INTO parcels VALUES (?, ?, 'shipped')").run(order.order_id, to);
        return { parcel: `parcel-${order.order_id}` };
      });
    },
    "recall", ({ input }, attempt) => inbox.compensate(attempt, (db) => {
      db.prepare("UPDATE parcels SET state = 'recalled' WHERE order_id = ?").run(input.order_id);
    }),
  );
}

const db = new Database(process.env["SHIPPING_DATABASE"] ?? "shipping.db", { timeout: 30_000 });
db.pragma("journal_mode = WAL");
db.exec("CREATE TABLE IF NOT EXISTS parcels (order_id TEXT PRIMARY KEY, address TEXT NOT NULL, state TEXT NOT NULL)");
const inbox = new Inbox(sqlite(db));
await inbox.migrate();
const client = Client.fromEnvironment();
await client.run([shipping(inbox)]);
await client.close();
db.close();
