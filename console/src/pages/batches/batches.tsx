import { useInfiniteQuery } from "@tanstack/react-query";
import { Link, useLocation } from "wouter";
import { api, data } from "../../api/client";
import { keys } from "../../api/keys";
import { REFRESH } from "../../api/query";
import type { Batch } from "../../api/types";
import { s } from "../../strings";
import { Empty, ErrorState, Loading, Page, PageLink, StatusBadge, Table, Time, type Column } from "../../ui";
import { Progress } from "./progress";
import "./batches.css";

const text = s.batches;

const columns: readonly Column<Batch>[] = [
  { id: "status", header: text.status, width: "8rem", cell: (row) => <StatusBadge status={row.status} /> },
  {
    id: "operation", header: text.operation, width: "7rem",
    cell: (row) => <PageLink page="/batches/:id" to={`/batches/${row.id}`}>{operationLabel(row)}</PageLink>,
  },
  { id: "progress", header: text.progress, width: "minmax(9rem, 1fr)", from: 420, cell: (row) => <Progress batch={row} /> },
  { id: "filter", header: text.filter, width: "minmax(0, 1.3fr)", from: 900, cell: (row) => <code title={row.filter}>{row.filter}</code> },
  { id: "reason", header: text.reason, width: "minmax(0, 1fr)", from: 620, cell: (row) => <span title={row.reason}>{row.reason}</span> },
  { id: "actor", header: text.actor, width: "7rem", from: 1000, cell: (row) => row.actor },
  { id: "created", header: text.created, width: "5.5rem", align: "end", from: 520, cell: (row) => <Time at={row.created_at} /> },
];

export function operationLabel(batch: Batch): string {
  const verb = (text.verbs as Record<string, string>)[batch.operation] ?? batch.operation;
  return batch.step ? `${verb}: ${batch.step}` : verb;
}

export default function Batches() {
  const [, navigate] = useLocation();
  const query = useInfiniteQuery({
    queryKey: [...keys.batches(), "list"],
    queryFn: ({ pageParam, signal }) =>
      data(api.GET("/api/v1/batches", { params: { query: { page_size: 100, page_token: pageParam } }, signal })),
    initialPageParam: "",
    getNextPageParam: (page) => page.next_page_token || undefined,
    refetchInterval: (state) => (state.state.data?.pages.some((page) => page.batches.some((each) => each.status === "RUNNING")) ? REFRESH.fast : REFRESH.normal),
  });
  const rows = query.data?.pages.flatMap((page) => page.batches) ?? [];
  return (
    <Page title={text.title} full>
      <section className="panel fill" aria-label={text.list}>
        {query.isError && rows.length === 0 && <ErrorState error={query.error} onRetry={() => void query.refetch()} />}
        {query.isPending ? <Loading lines={8} /> : query.isSuccess || rows.length > 0 ? (
          <Table label={text.list} columns={columns} rows={rows} rowKey={(row) => row.id} onOpen={(row) => navigate(`/batches/${row.id}`)}
            onEnd={query.hasNextPage && !query.isFetchingNextPage ? () => void query.fetchNextPage() : undefined}
            empty={<Empty title={text.emptyTitle} hint={text.emptyHint}><Link href="/workflows" className="button">{text.toWorkflows}</Link></Empty>}
            foot={rows.length > 0 && <span className="num" role="status">{query.isFetchingNextPage ? s.ui.loadingMore : s.ui.rows(rows.length)}</span>} />
        ) : null}
      </section>
    </Page>
  );
}
