import { useQuery } from "@tanstack/react-query";
import { useLocation } from "wouter";
import { api, ApiError, data } from "../../api/client";
import { keys } from "../../api/keys";
import { FINAL_STATUSES, WORKFLOW_STATUSES, type WorkflowSummary } from "../../api/types";
import { parseFilter, withValues } from "../../filter/filter";
import { pageExists } from "../../routes";
import { s } from "../../strings";
import { Button, Duration, Empty, ErrorState, FilterBar, Icon, Loading, Page, PageLink, StatusBadge, statusIcon, statusLabel, statusTone, Table, Time, useParam, type Column } from "../../ui";
import { useWorkflowList } from "./useWorkflowList";
import "./workflows.css";

const text = s.workflows;

const columns: readonly Column<WorkflowSummary>[] = [
  { id: "status", header: text.status, width: "8.5rem", cell: (row) => <StatusBadge status={row.status} /> },
  {
    id: "definition", header: text.definition, width: "minmax(0, 1.2fr)",
    cell: (row) => <>{row.definition} <span className="muted num">v{row.version}</span></>,
  },
  {
    id: "id", header: text.id, width: "minmax(9rem, 1.4fr)", from: 620,
    cell: (row) => <PageLink page="/workflows/:id" to={`/workflows/${row.id}`} className="mono">{row.id}</PageLink>,
  },
  { id: "labels", header: text.labels, width: "minmax(6rem, 1fr)", from: 900, cell: (row) => <Labels labels={row.labels} /> },
  { id: "cause", header: text.error, width: "minmax(8rem, 1.2fr)", from: 760, cell: (row) => <Reason row={row} /> },
  { id: "created", header: text.created, width: "5.5rem", align: "end", from: 380, cell: (row) => <Time at={row.created_at} /> },
  {
    id: "duration", header: text.duration, width: "5rem", align: "end", from: 480,
    cell: (row) => <Duration from={row.created_at} to={row.ended_at ?? (FINAL_STATUSES.includes(row.status) ? row.created_at : undefined)} />,
  },
];

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

export default function Workflows() {
  const [filter, setFilter] = useParam("filter");
  const [, navigate] = useLocation();
  const list = useWorkflowList(filter);
  const problem = list.query.error instanceof ApiError && list.query.error.status === 400 ? list.query.error.detail : undefined;
  const openable = pageExists("/workflows/:id");
  const pending = list.query.isPending;
  return (
    <Page title={text.title} full>
      <FilterBar value={filter} onChange={setFilter} problem={problem} />
      <StatusCounts filter={filter} onChange={setFilter} />
      <section className="panel fill" aria-label={text.listLabel}>
        {list.query.isError && !problem && <ErrorState error={list.query.error} onRetry={() => void list.query.refetch()} />}
        {pending && !problem ? <Loading lines={12} /> : (
          <Table
            label={text.listLabel}
            columns={columns}
            rows={list.rows}
            rowKey={(row) => row.id}
            {...(openable && { onOpen: (row: WorkflowSummary) => navigate(`/workflows/${row.id}`) })}
            onEnd={list.query.hasNextPage && !list.query.isFetchingNextPage ? () => void list.query.fetchNextPage() : undefined}
            empty={problem ? null : <Nothing filter={filter} onClear={() => setFilter("")} />}
            foot={
              <>
                <span className="num" role="status">{list.query.isFetchingNextPage ? s.ui.loadingMore : s.ui.rows(list.rows.length)}</span>
                {list.fresh > 0 && <Button small tone="primary" icon="up" onClick={list.showFresh}>{text.newRows(list.fresh)}</Button>}
              </>
            }
          />
        )}
      </section>
    </Page>
  );
}

function Nothing({ filter, onClear }: { filter: string; onClear: () => void }) {
  if (filter === "") return <Empty title={text.noneTitle} hint={text.noneHint} />;
  return <Empty title={text.emptyTitle} hint={text.emptyHint}><Button onClick={onClear}>{text.clearFilter}</Button></Empty>;
}

/** The counts by status as switches of the filter. The counts leave the status condition aside. */
function StatusCounts({ filter, onChange }: { filter: string; onChange: (filter: string) => void }) {
  const conditions = parseFilter(filter);
  const chosen = conditions?.find((each) => each.field === "status" && each.operator === "=")?.values ?? [];
  const others = withValues(filter, "status", []) ?? filter;
  const counts = useQuery({
    queryKey: keys.workflowCounts("status", others),
    queryFn: ({ signal }) => data(api.GET("/api/v1/workflow-counts", { params: { query: { by: "status", filter: others } }, signal })),
    placeholderData: (old) => old,
  });
  const count = (status: string) => counts.data?.counts.find((each) => each.value === status)?.count ?? 0;
  const toggle = (status: string) => {
    const next = chosen.includes(status) ? chosen.filter((each) => each !== status) : [...chosen, status];
    onChange(withValues(filter, "status", next) ?? filter);
  };
  return (
    <div className="status-counts" role="group" aria-label={text.statusFilter}>
      {WORKFLOW_STATUSES.map((status) => (
        <button key={status} type="button" className={`status-count tone-${statusTone(status)}`} aria-pressed={chosen.includes(status)}
          disabled={conditions === undefined} onClick={() => toggle(status)}>
          <Icon name={statusIcon(status)} />
          <span>{statusLabel(status)}</span>
          <b className="num">{count(status).toLocaleString("en")}</b>
        </button>
      ))}
    </div>
  );
}
