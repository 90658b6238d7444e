import { useInfiniteQuery } from "@tanstack/react-query";
import { api, data } from "../../api/client";
import { keys } from "../../api/keys";
import type { AuditRecord, Workflow } from "../../api/types";
import { s } from "../../strings";
import { Badge, Empty, ErrorState, Loading, PageLink, Table, Time, type Column, type IconName, type Tone } from "../../ui";

const text = s.workflow;
const names = text.auditColumns;
const PAGE_SIZE = 100;

const looks: Record<string, [Tone, IconName]> = { ALLOWED: ["good", "check"], REFUSED: ["bad", "cross"], FAILED: ["bad", "alert"] };

const columns: readonly Column<AuditRecord>[] = [
  { id: "time", header: names.time, width: "5.5rem", cell: (row) => <Time at={row.time} /> },
  { id: "action", header: names.action, width: "minmax(8rem, 1fr)", cell: (row) => <span className="mono">{row.action}</span> },
  { id: "actor", header: names.actor, width: "minmax(6rem, 1fr)", cell: (row) => row.actor },
  {
    id: "outcome", header: names.outcome, width: "8rem",
    cell: (row) => <Badge tone={looks[row.outcome]?.[0] ?? "idle"} icon={looks[row.outcome]?.[1] ?? "dot"}>{`${row.outcome.toLowerCase()}${row.code ? ` ${row.code}` : ""}`}</Badge>,
  },
  { id: "detail", header: names.detail, width: "minmax(8rem, 2fr)", from: 620, cell: (row) => <span className="mono muted" title={row.after ?? ""}>{row.after}</span> },
  { id: "source", header: names.source, width: "9rem", from: 900, cell: (row) => <span className="mono muted">{row.source}</span> },
];

/** Who changed the workflow, and which requests were refused. */
export function AuditTab({ workflow }: { workflow: Workflow }) {
  const query = { target_kind: "workflow", target_name: workflow.id, page_size: PAGE_SIZE };
  const records = useInfiniteQuery({
    queryKey: [...keys.workflow(workflow.id), "audit", workflow.seq],
    queryFn: ({ pageParam, signal }) => data(api.GET("/api/v1/audit", { params: { query: { ...query, page_token: pageParam } }, signal })),
    initialPageParam: "",
    getNextPageParam: (page) => page.next_page_token || undefined,
    placeholderData: (old) => old,
  });
  if (records.isPending) return <Loading lines={6} />;
  if (records.isError) return <ErrorState error={records.error} onRetry={() => void records.refetch()} />;
  const rows = records.data.pages.flatMap((page) => page.records);
  return (
    <Table label={text.audit} columns={columns} rows={rows} rowKey={(row) => row.id} empty={<Empty title={text.noAudit} hint={text.noAuditHint} />}
      onEnd={records.hasNextPage && !records.isFetchingNextPage ? () => void records.fetchNextPage() : undefined}
      foot={<><span role="status">{s.ui.rows(rows.length)}</span><PageLink page="/audit" to={`/audit?target_kind=workflow&target_name=${workflow.id}`}>{text.auditAll}</PageLink></>} />
  );
}
