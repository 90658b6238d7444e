import { Inbox, sqlite } from "@goconductor/sdk/inbox";
import Database from "libsql";

import type { Box } from "./services.js";

const tables = `
  CREATE TABLE IF NOT EXISTS stock (sku TEXT PRIMARY KEY, available INTEGER NOT NULL);
  CREATE TABLE IF NOT EXISTS reservations (order_id TEXT PRIMARY KEY, sku TEXT NOT NULL);
  CREATE TABLE IF NOT EXISTS payments (order_id TEXT PRIMARY KEY, amount REAL NOT NULL);
  CREATE TABLE IF NOT EXISTS parcels (order_id TEXT PRIMARY KEY, address TEXT NOT NULL);
  INSERT OR IGNORE INTO stock VALUES ('book', 1000)`;

/** Opens the database of a participant, with its tables and its inbox. */
export async function open(file: string): Promise<{ db: Database.Database; inbox: Box }> {
  const db = new Database(file, { timeout: 30_000 });
  db.pragma("journal_mode = WAL");
  db.exec(tables);
  const inbox = new Inbox(sqlite(db));
  await inbox.migrate();
  return { db, inbox };
}
