import { createHash } from "node:crypto";
import { expect, test } from "vitest";
import type { AuditRecord } from "../../api/types";
import { changeOf } from "./change";
import { canonical, GENESIS, Verifier } from "./chain";
import { header, line } from "./export";

const digest = (text: string) => Promise.resolve(createHash("sha256").update(text).digest("hex"));

async function chain(length: number): Promise<AuditRecord[]> {
  const records: AuditRecord[] = [];
  let previous = GENESIS;
  for (let seq = 1; seq <= length; seq += 1) {
    const record = {
      seq, time: `2026-11-30T13:00:0${seq}.000000Z`, id: `id-${seq}`, actor: "key:1", action: "workflows.cancel", outcome: "ALLOWED", count: 1,
      after: '{"reason":"ä\\n"}', prev_hash: previous, hash: "",
    } as AuditRecord;
    record.hash = await digest(canonical(record));
    previous = record.hash;
    records.push(record);
  }
  return records;
}

async function breaks(records: readonly AuditRecord[], head?: { seq: number; hash: string }) {
  const verifier = new Verifier(digest);
  await verifier.add(records);
  if (head) verifier.end(head);
  return verifier.breaks;
}

test("canonical form has sorted names, no white space, and null for absent values", () => {
  const record = { seq: 1, time: "2026-11-30T13:00:00.000000Z", id: "i", actor: "a\u001f\"", action: "x", outcome: "ALLOWED", count: 2, prev_hash: "p", hash: "h" } as AuditRecord;
  const names = Object.keys(JSON.parse(canonical(record)) as object);
  expect(names).toEqual([...names].sort());
  expect(canonical(record)).toContain('"actor":"a\\u001f\\"","after":null,"before":null');
  expect(canonical(record)).not.toContain('"hash"');
});

test("whole chain has no break", async () => {
  const records = await chain(4);
  const last = records[3];
  expect(await breaks(records, { seq: 4, hash: last?.hash ?? "" })).toEqual([]);
});

test("altered, removed and inserted records are named", async () => {
  const altered = (await chain(3)).map((record) => (record.seq === 2 ? { ...record, actor: "key:2" } : record));
  expect(await breaks(altered)).toEqual([{ kind: "ALTERED", seq: 2 }]);
  const removed = (await chain(4)).filter((record) => record.seq !== 2);
  expect(await breaks(removed)).toEqual([{ kind: "REMOVED", seq: 2 }]);
  const records = await chain(3);
  const again = records[1];
  expect(await breaks(again ? [...records.slice(0, 2), again] : [])).toEqual([{ kind: "INSERTED", seq: 2 }]);
});

test("log that ends before its head is reported, later records are not", async () => {
  const records = await chain(3);
  expect(await breaks(records.slice(0, 2), { seq: 3, hash: records[2]?.hash ?? "" })).toEqual([{ kind: "HEAD", seq: 2 }]);
  expect(await breaks(records, { seq: 2, hash: records[1]?.hash ?? "" })).toEqual([]);
});

test("CSV quotes, and no cell is a formula", () => {
  const record = { seq: 1, time: "t", id: "i", actor: "=1+1", action: 'a "b", c', outcome: "ALLOWED", count: 1, prev_hash: "p", hash: "h" } as AuditRecord;
  expect(header("csv").split(",")).toHaveLength(18);
  expect(line(record, "csv")).toContain(`,'=1+1,`);
  expect(line(record, "csv")).toContain('"a ""b"", c"');
  expect(JSON.parse(line(record, "jsonl"))).toEqual(record);
});

test("reason is shown apart from the change", () => {
  expect(changeOf({ a: 1 }, { settings: { a: 2 }, reason: "r", dry_run: true })).toEqual({ before: { a: 1 }, after: { a: 2 }, reason: "r", dryRun: true });
  expect(changeOf(undefined, { reason: "r", dry_run: false })).toEqual({ before: undefined, after: undefined, reason: "r" });
  expect(changeOf(undefined, { a: 1 })).toEqual({ before: undefined, after: { a: 1 } });
  expect(changeOf("x", null)).toEqual({ before: "x", after: null });
});
