import type { AuditRecord } from "../../api/types";

const FIELDS = [
  "seq", "time", "actor", "credential", "source", "action", "namespace", "target_kind", "target_name", "outcome", "code", "count", "before", "after",
  "trace_id", "prev_hash", "hash", "id",
] as const;

export type Format = "jsonl" | "csv";

export function header(format: Format): string {
  return format === "csv" ? `${FIELDS.join(",")}\r\n` : "";
}

/** A record as a line. All text is exported as it is; a spreadsheet must not read it as a formula. */
export function line(record: AuditRecord, format: Format): string {
  if (format === "jsonl") return `${JSON.stringify(record)}\n`;
  return `${FIELDS.map((field) => cell(record[field])).join(",")}\r\n`;
}

function cell(value: string | number | null | undefined): string {
  if (value === null || value === undefined) return "";
  const text = typeof value === "string" && /^[=+\-@\t\r]/.test(value) ? `'${value}` : String(value);
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
