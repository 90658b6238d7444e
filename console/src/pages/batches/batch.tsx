import { useQuery } from "@tanstack/react-query";
import { Link, useLocation, useParams } from "wouter";
import { usePermissions } from "../../api/access";
import { api, data } from "../../api/client";
import { keys } from "../../api/keys";
import { usePaged } from "../../api/paged";
import { REFRESH } from "../../api/query";
import type { components } from "../../api/schema";
import type { Batch as BatchData } from "../../api/types";
import { pageExists } from "../../routes";
import { s } from "../../strings";
import { Badge, Button, cli, confirmAction, CopyAs, curl, Duration, Empty, ErrorState, formatDuration, Loaded, Loading, Page, PageLink, Panel, StatusBadge, Table, Time, useParam, type Column, type IconName, type Tone } from "../../ui";
import { operationLabel } from "./batches";
import { Progress, remainingMs, RESULT_TONES, RESULTS } from "./progress";
import "./batches.css";

const text = s.batches;
type Item = components["schemas"]["BatchItemView"];
type Change = "pause" | "resume" | "cancel";

export default function Batch() {
  const { id = "" } = useParams<{ id: string }>();
  const query = useQuery({
    queryKey: [...keys.batches(), id],
    queryFn: ({ signal }) => data(api.GET("/api/v1/batches/{id}", { params: { path: { id } }, signal })),
    refetchInterval: (state) => (state.state.data && ["COMPLETED", "CANCELLED"].includes(state.state.data.status) ? false : REFRESH.fast),
  });
  const batch = query.data;
  return (
    <Page title={batch ? `${operationLabel(batch)} · ${text.of(batch.total - batch.pending, batch.total)}` : text.title} full
      actions={batch && <Actions batch={batch} />}>
      <Loaded query={query}>{(loaded) => <><Facts batch={loaded} /><Items batch={loaded} /></>}</Loaded>
    </Page>
  );
}

function Actions({ batch }: { batch: BatchData }) {
  const { can } = usePermissions();
  const open = batch.status === "RUNNING" || batch.status === "PAUSED";
  const act = (change: Change, title: string, body: string, verb: string, done: string) => confirmAction({
    title, body, verb, done, danger: change === "cancel",
    run: (reason) => data(api.POST(`/api/v1/batches/{id}/${change}`, { params: { path: { id: batch.id } }, body: { reason } })),
    refresh: [keys.batches()],
    audit: { target_kind: "batch", target_name: batch.id },
  });
  return (
    <>
      <CopyAs command={cli("batch", "get", batch.id)} request={curl("GET", `/api/v1/batches/${batch.id}`)} />
      {open && can("batches.operate") && (
        <>
          {batch.status === "RUNNING"
            ? <Button icon="pause" onClick={() => act("pause", text.pauseTitle, text.pauseBody, text.pauseVerb, text.paused)}>{text.pauseVerb}</Button>
            : <Button icon="play" tone="primary" onClick={() => act("resume", text.resumeTitle, text.resumeBody(batch.pending), text.resumeVerb, text.resumed)}>{text.resumeVerb}</Button>}
          <Button icon="stop" tone="danger" onClick={() => act("cancel", text.cancelTitle, text.cancelBody(batch.pending), text.cancelVerb, text.cancelled)}>{text.cancelVerb}</Button>
        </>
      )}
    </>
  );
}

function Facts({ batch }: { batch: BatchData }) {
  const left = remainingMs(batch);
  return (
    <section className="panel panel-body batch-head" aria-label={text.progress}>
      <div className="row">
        <StatusBadge status={batch.status} />
        <span className="muted num">{text.perSecond(batch.rate)}{left !== undefined && <> · {text.remaining(formatDuration(Math.max(1_000, left)))}</>}</span>
      </div>
      <Progress batch={batch} wide />
      <ul className="batch-results">
        {RESULTS.map((result) => (
          <li key={result} className={`tone-${RESULT_TONES[result]}`} title={text.resultHints[result]}>
            <b className="num">{batch[result].toLocaleString("en")}</b><span><i />{text.results[result]}</span>
          </li>
        ))}
      </ul>
      <dl className="batch-facts">
        <div className="wide"><dt>{text.filter}</dt><dd><FilterLink filter={batch.filter} /></dd></div>
        <div className="wide"><dt>{text.reason}</dt><dd>{batch.reason}</dd></div>
        <div><dt>{text.actor}</dt><dd>{batch.actor ?? "–"}</dd></div>
        <div><dt>{text.created}</dt><dd><Time at={batch.created_at} /></dd></div>
        <div><dt>{s.workflows.duration}</dt><dd><Duration from={batch.created_at} to={batch.ended_at} /></dd></div>
      </dl>
    </section>
  );
}

function FilterLink({ filter }: { filter: string }) {
  return <Link href={`/workflows?filter=${encodeURIComponent(filter)}`} className="mono">{filter}</Link>;
}

const ITEM_LOOK: Record<string, [Tone, IconName]> = {
  PENDING: ["idle", "clock"], STARTED: ["forward", "play"], DONE: ["good", "check"], REFUSED: ["undo", "skip"], FAILED: ["bad", "cross"],
};
const ITEM_STATUSES = ["", "PENDING", "DONE", "REFUSED", "FAILED"] as const;

const itemColumns: readonly Column<Item>[] = [
  {
    id: "status", header: text.status, width: "8rem",
    cell: (row) => {
      const [tone, icon] = ITEM_LOOK[row.status] ?? ["idle", "dot"];
      return <Badge tone={tone} icon={icon}>{text.itemStatuses[row.status] ?? row.status}</Badge>;
    },
  },
  {
    id: "workflow", header: text.workflow, width: "minmax(0, 1.2fr)",
    cell: (row) => <PageLink page="/workflows/:id" to={`/workflows/${row.workflow_id}`} className="mono">{row.workflow_id}</PageLink>,
  },
  {
    id: "detail", header: text.detail, width: "minmax(0, 2fr)", from: 520,
    cell: (row) => row.code && <span title={row.detail ?? ""}><a href={`/errors/${row.code}`} target="_blank" rel="noreferrer" className="mono">{row.code}</a> {row.detail}</span>,
  },
  { id: "ended", header: text.ended, width: "5.5rem", align: "end", from: 420, cell: (row) => <Time at={row.ended_at} /> },
];

function Items({ batch }: { batch: BatchData }) {
  const [status, setStatus] = useParam("status");
  const [, navigate] = useLocation();
  const { query, rows, more } = usePaged([...keys.batches(), batch.id, "items", status], async (token, signal) => {
    const page = await data(api.GET("/api/v1/batches/{id}/items", {
      params: { path: { id: batch.id }, query: { page_size: 200, page_token: token, ...(status && { status: status as "DONE" }) } }, signal,
    }));
    return { rows: page.items, next: page.next_page_token };
  }, batch.status === "RUNNING" ? REFRESH.fast : undefined);
  const filters = (
    <div className="row" role="group" aria-label={text.status}>
      {ITEM_STATUSES.map((each) => (
        <Button key={each} small aria-pressed={each === status} className={each === status ? "chosen" : ""} onClick={() => setStatus(each)}>
          {each === "" ? text.allItems : text.itemStatuses[each] ?? each}
        </Button>
      ))}
    </div>
  );
  return (
    <Panel title={text.items} className="fill batch-items" actions={filters}>
      {query.isError && rows.length === 0 && <ErrorState error={query.error} onRetry={() => void query.refetch()} />}
      {query.isPending ? <Loading /> : (
        <Table label={text.items} columns={itemColumns} rows={rows} rowKey={(row) => row.workflow_id}
          {...(pageExists("/workflows/:id") && { onOpen: (row: Item) => navigate(`/workflows/${row.workflow_id}`) })}
          onEnd={more}
          empty={query.isSuccess && <Empty title={text.noItems} />}
          foot={<span className="num" role="status">{query.isFetchingNextPage ? s.ui.loadingMore : s.ui.rows(rows.length)}</span>} />
      )}
    </Panel>
  );
}
