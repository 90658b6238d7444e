// The chain of the audit log: the hash of a record is SHA-256 over its JSON without `hash`, names sorted (RFC 8785).
import type { AuditRecord } from "../../api/types";

export const GENESIS = "0".repeat(64);

export interface Break {
  kind: "ALTERED" | "REMOVED" | "INSERTED" | "HEAD";
  seq: number;
}

/** The text over which the hash of a record is computed. */
export function canonical(record: AuditRecord): string {
  const text = (value: string | null | undefined) => value ?? null;
  return JSON.stringify({
    action: record.action, actor: record.actor, after: text(record.after), before: text(record.before), code: text(record.code),
    count: record.count, credential: text(record.credential), id: record.id, namespace: text(record.namespace), outcome: record.outcome,
    prev_hash: record.prev_hash, seq: record.seq, source: text(record.source), target_kind: text(record.target_kind),
    target_name: text(record.target_name), time: record.time, trace_id: text(record.trace_id),
  });
}

export type Hash = (text: string) => Promise<string>;

/** SHA-256 of the browser. Undefined where the browser does not offer it: over HTTP from another host. */
export const sha256: Hash | undefined = globalThis.crypto?.subtle && (async (text) => {
  const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text));
  return [...new Uint8Array(digest)].map((byte) => byte.toString(16).padStart(2, "0")).join("");
});

/** Verifies records in the order of their numbers. */
export class Verifier {
  private seq = 0;
  private hash = GENESIS;
  readonly breaks: Break[] = [];
  private readonly digest: Hash;
  constructor(digest: Hash) {
    this.digest = digest;
  }

  get last(): { seq: number; hash: string } {
    return { seq: this.seq, hash: this.hash };
  }

  async add(records: readonly AuditRecord[]): Promise<void> {
    const hashes = await Promise.all(records.map((record) => this.digest(canonical(record))));
    records.forEach((record, index) => this.check(record, hashes[index] ?? ""));
  }

  private check(record: AuditRecord, computed: string): void {
    if (record.seq > this.seq + 1) this.breaks.push({ kind: "REMOVED", seq: this.seq + 1 });
    else if (record.seq <= this.seq || record.prev_hash !== this.hash) this.breaks.push({ kind: "INSERTED", seq: record.seq });
    if (computed !== record.hash) this.breaks.push({ kind: "ALTERED", seq: record.seq });
    this.seq = record.seq;
    this.hash = record.hash;
  }

  /** Compares the end with a head that was read before the records. Later records may follow it. */
  end(head: { seq: number; hash: string }): void {
    if (this.seq < head.seq || (this.seq === head.seq && this.hash !== head.hash)) this.breaks.push({ kind: "HEAD", seq: this.seq });
  }
}
