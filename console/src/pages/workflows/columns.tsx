import { FINAL_STATUSES, type WorkflowSummary } from "../../api/types";
import { s } from "../../strings";
import { Duration, PageLink, StatusBadge, Time, type Column } from "../../ui";

const text = s.workflows;

const all: readonly Column<WorkflowSummary>[] = [
  { id: "status", header: text.status, width: "8.5rem", sortable: true, cell: (row) => <StatusBadge status={row.status} /> },
  {
    id: "definition", header: text.definition, width: "minmax(0, 1.2fr)", sortable: true,
    cell: (row) => <>{row.definition} <span className="muted num">v{row.version}</span></>,
  },
  {
    id: "id", header: text.id, width: "minmax(9rem, 1.4fr)", from: 620,
    cell: (row) => <PageLink page="/workflows/:id" to={`/workflows/${row.id}`} className="mono">{row.id}</PageLink>,
  },
  { id: "key", header: text.key, width: "minmax(6rem, 1fr)", from: 620, sortable: true, cell: (row) => <span className="mono">{row.idempotency_key}</span> },
  { id: "labels", header: text.labels, width: "minmax(6rem, 1fr)", from: 900, cell: (row) => <Labels labels={row.labels} /> },
  { id: "cause", header: text.error, width: "minmax(8rem, 1.2fr)", from: 760, cell: (row) => <Reason row={row} /> },
  { id: "created", header: text.created, width: "5.5rem", align: "end", from: 380, sortable: true, cell: (row) => <Time at={row.created_at} /> },
  { id: "ended", header: text.ended, width: "5.5rem", align: "end", from: 480, sortable: true, cell: (row) => <Time at={row.ended_at} /> },
  {
    id: "duration", header: text.duration, width: "5rem", align: "end", from: 480, sortable: true,
    cell: (row) => <Duration from={row.created_at} to={row.ended_at ?? (FINAL_STATUSES.includes(row.status) ? row.created_at : undefined)} />,
  },
];

export const COLUMN_NAMES: readonly (readonly [string, string])[] = all.map((column) => [column.id, column.header]);
export const DEFAULT_COLUMNS: readonly string[] = ["status", "definition", "id", "labels", "cause", "created", "duration"];

/** The chosen columns in the order of the table. `labels.NAME` is a column with the values of one label. */
export function columnsOf(chosen: readonly string[]): readonly Column<WorkflowSummary>[] {
  const known = all.filter((column) => chosen.includes(column.id));
  const labels = chosen.filter((id) => id.startsWith("labels.")).map((id): Column<WorkflowSummary> => {
    const name = id.slice("labels.".length);
    return { id, header: name, width: "minmax(5rem, 0.8fr)", from: 620, sortable: true, cell: (row) => row.labels[name] };
  });
  const at = known.findIndex((column) => ["cause", "created", "ended", "duration"].includes(column.id));
  const columns = at < 0 ? [...known, ...labels] : [...known.slice(0, at), ...labels, ...known.slice(at)];
  return columns.length > 0 ? columns : all.slice(0, 1);
}

function Labels({ labels }: { labels: Record<string, string> }) {
  return Object.entries(labels).map(([name, value]) => (
    <span key={name} className="chip"><span>{name}={value}</span></span>
  ));
}

function Reason({ row }: { row: WorkflowSummary }) {
  const error = row.error as { code?: unknown; message?: unknown } | null | undefined;
  const code = typeof error?.code === "string" ? error.code : row.cause;
  const message = typeof error?.message === "string" ? error.message : "";
  return code ? <span title={message}><span className="mono">{code}</span> <span className="muted">{message}</span></span> : null;
}
