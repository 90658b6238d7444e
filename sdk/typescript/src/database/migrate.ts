import { readFileSync } from "node:fs";

import type { Database } from "./database.js";

/**
 * The key of the advisory lock of PostgreSQL under which one process at a time migrates. All inboxes use the same number, in
 * every language.
 */
const migrationLock = 0x676f_636f_696e_626fn;

/** Runs the script of a folder for a database. It can be repeated. Concurrent calls are safe. */
export async function migrate<Tx>(database: Database<Tx>, folder: "inbox" | "outbox"): Promise<void> {
  const script = readFileSync(new URL(`../../sql/${folder}/${database.dialect}.sql`, import.meta.url), "utf8");
  await database.transaction(async (tx) => {
    const statements = database.statements(tx);
    if (database.dialect === "postgres") {
      await statements.run("SELECT pg_advisory_xact_lock($1)", [migrationLock.toString()]);
    }
    await statements.script(script);
  });
}
