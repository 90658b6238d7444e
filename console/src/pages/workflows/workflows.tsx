import { useQuery } from "@tanstack/react-query";
import { useMemo, useState } from "react";
import { Link, useLocation } from "wouter";
import { usePermissions } from "../../api/access";
import { api, ApiError, data } from "../../api/client";
import { keys } from "../../api/keys";
import { WORKFLOW_STATUSES, type WorkflowSummary } from "../../api/types";
import { parseFilter, withValues } from "../../filter/filter";
import { pageExists } from "../../routes";
import { s } from "../../strings";
import { Button, cli, CopyAs, CopyButton, curl, Empty, ErrorState, FilterBar, Icon, Loading, Menu, Page, statusIcon, statusLabel, statusTone, Table, useParam } from "../../ui";
import { BatchDialog } from "./BatchDialog";
import { columnsOf, DEFAULT_COLUMNS } from "./columns";
import { OPERATIONS, type Operation, type Target } from "./selection";
import { formatSort, parseSort, sortedIds } from "./sort";
import { useWorkflowList } from "./useWorkflowList";
import { Columns, Views } from "./Views";
import { saveColumns, savedColumns, type View } from "./views";
import "./workflows.css";

const text = s.workflows;

export default function Workflows() {
  const [filter, setFilter] = useParam("filter");
  const [sort, setSort] = useParam("sort");
  const [chosen, setChosen] = useState<readonly string[]>(() => savedColumns() ?? DEFAULT_COLUMNS);
  const [, navigate] = useLocation();
  const { can } = usePermissions();
  const list = useWorkflowList(filter);
  const rows = useSorted(list.rows, sort);
  const selection = useSelection(filter, rows);
  const counts = useStatusCounts(filter);
  const problem = list.query.error instanceof ApiError && list.query.error.status === 400 ? list.query.error.detail : undefined;
  const choose = (columns: readonly string[]) => {
    saveColumns(columns);
    setChosen(columns);
  };
  const open = (view: View) => {
    setFilter(view.filter, true);
    setSort(view.sort ?? "");
    if (view.columns) choose(view.columns);
  };
  const parsed = parseSort(sort);
  return (
    <Page title={text.title} full actions={
      <>
        <CopyAs command={cli("workflow", "list", ...(filter ? ["--filter", filter] : []))}
          request={curl("GET", `/api/v1/workflows${filter ? `?filter=${encodeURIComponent(filter)}` : ""}`)} />
        {can("workflows.start") && pageExists("/start") && <Link href="/start" className="button primary"><Icon name="play" />{text.start}</Link>}
      </>
    }>
      <FilterBar value={filter} onChange={setFilter} problem={problem}>
        <Views current={{ filter, sort, columns: chosen }} onOpen={open} />
        <Columns chosen={chosen} onChange={choose} />
      </FilterBar>
      <StatusCounts filter={filter} onChange={setFilter} counts={counts} />
      <section className="panel fill" aria-label={text.listLabel}>
        {selection.ids.size > 0 && <BulkBar selection={selection} loaded={rows.length} total={counts.total} filter={filter} />}
        {list.query.isError && !problem && <ErrorState error={list.query.error} onRetry={() => void list.query.refetch()} />}
        {list.query.isPending && !problem ? <Loading lines={12} /> : (
          <Table
            label={text.listLabel}
            columns={columnsOf(chosen)}
            rows={rows}
            rowKey={(row) => row.id}
            {...(pageExists("/workflows/:id") && { onOpen: (row: WorkflowSummary) => navigate(`/workflows/${row.id}`) })}
            {...(can("batches.operate") && can("workflows.operate") && { selected: selection.ids, onSelect: selection.select })}
            {...(parsed && { sort: parsed })}
            onSort={(next) => setSort(parsed?.column === next.column && parsed.descending ? "" : formatSort(next))}
            onEnd={list.query.hasNextPage && !list.query.isFetchingNextPage ? () => void list.query.fetchNextPage() : undefined}
            empty={problem || list.query.isError ? null : <Nothing filter={filter} onClear={() => setFilter("")} />}
            foot={
              <>
                <span className="num" role="status">
                  {list.query.isFetchingNextPage ? s.ui.loadingMore : s.ui.rows(rows.length)}
                  {parsed && list.query.hasNextPage && <> · {text.sortedLoaded}</>}
                </span>
                {list.fresh > 0 && <Button small tone="primary" icon="up" onClick={list.showFresh}>{text.newRows(list.fresh)}</Button>}
              </>
            }
          />
        )}
      </section>
    </Page>
  );
}

/** Sorts when the order or the set of rows changes. A live change of a row does not move it. */
function useSorted(rows: readonly WorkflowSummary[], sort: string): readonly WorkflowSummary[] {
  const [order, setOrder] = useState<{ sort: string; count: number; first: string; ids: readonly string[] }>();
  const parsed = parseSort(sort);
  const first = rows[0]?.id ?? "";
  const current = order?.sort === sort && order.count === rows.length && order.first === first;
  if (parsed && !current) setOrder({ sort, count: rows.length, first, ids: sortedIds(rows, parsed) });
  return useMemo(() => {
    if (sort === "" || !order) return rows;
    const byId = new Map(rows.map((row) => [row.id, row]));
    return order.ids.flatMap((id) => byId.get(id) ?? []);
  }, [rows, sort, order]);
}

interface Selection {
  ids: ReadonlySet<string>;
  /** All workflows that match the filter, including those that are not loaded. */
  all: boolean;
  select: (ids: ReadonlySet<string>) => void;
  selectAll: () => void;
  clear: () => void;
}

/** The selection belongs to a filter: another filter clears it. */
function useSelection(filter: string, rows: readonly WorkflowSummary[]): Selection {
  const [state, setState] = useState<{ filter: string; ids: ReadonlySet<string>; all: boolean }>({ filter, ids: new Set(), all: false });
  const ids = state.filter === filter ? state.ids : new Set<string>();
  return {
    ids,
    all: state.filter === filter && state.all,
    select: (next) => setState({ filter, ids: next, all: false }),
    selectAll: () => setState({ filter, ids: new Set(rows.map((row) => row.id)), all: true }),
    clear: () => setState({ filter, ids: new Set(), all: false }),
  };
}

function BulkBar({ selection, loaded, total, filter }: { selection: Selection; loaded: number; total: number; filter: string }) {
  const [operation, setOperation] = useState<Operation>();
  const target: Target = selection.all ? { kind: "all", filter } : { kind: "some", ids: [...selection.ids] };
  const count = selection.all ? Math.max(total, loaded) : selection.ids.size;
  const [main, more] = [OPERATIONS.slice(0, 4), OPERATIONS.slice(4)];
  return (
    <div className="bulk-bar" role="region" aria-label={text.bulk}>
      <strong className="num" role="status">{selection.all ? text.allSelected(count) : s.ui.selected(count)}</strong>
      {!selection.all && total > selection.ids.size && (
        <Button tone="plain" small onClick={selection.selectAll}>{text.selectMatching(total)}</Button>
      )}
      <Button tone="plain" small icon="cross" onClick={selection.clear}>{text.clearSelection}</Button>
      <span className="gap" />
      {main.map((each) => <Button key={each} small onClick={() => setOperation(each)}>{s.batches.verbs[each]}</Button>)}
      <Menu trigger={{ text: s.common.more, icon: "down", small: true }} label={text.moreActions}
        items={more.map((each) => ({ text: s.batches.verbs[each], danger: true, onSelect: () => setOperation(each) }))} />
      {operation && (
        <BatchDialog operation={operation} target={target} onClose={() => setOperation(undefined)} onStarted={() => {
          setOperation(undefined);
          selection.clear();
        }} />
      )}
    </div>
  );
}

function Nothing({ filter, onClear }: { filter: string; onClear: () => void }) {
  const { can } = usePermissions();
  if (filter !== "") return <Empty title={text.emptyTitle} hint={text.emptyHint}><Button onClick={onClear}>{text.clearFilter}</Button></Empty>;
  const command = "goconductor workflow start DEFINITION --input '{…}'";
  return (
    <Empty title={text.noneTitle} hint={text.noneHint}>
      {can("workflows.start") && pageExists("/start") && <Link href="/start" className="button primary"><Icon name="play" />{text.start}</Link>}
      <div className="command"><code>{command}</code><CopyButton text={command} /></div>
    </Empty>
  );
}

interface Counts {
  of: (status: string) => number;
  /** Workflows that match the filter, with its status condition. */
  total: number;
}

/** The counts by status. They leave the status condition of the filter aside. */
function useStatusCounts(filter: string): Counts {
  const others = withValues(filter, "status", []) ?? filter;
  const query = useQuery({
    queryKey: keys.workflowCounts("status", others),
    queryFn: ({ signal }) => data(api.GET("/api/v1/workflow-counts", { params: { query: { by: "status", filter: others } }, signal })),
    placeholderData: (old) => old,
  });
  const of = (status: string) => query.data?.counts.find((each) => each.value === status)?.count ?? 0;
  const chosen = chosenStatuses(filter);
  const counted = chosen.length > 0 ? chosen : WORKFLOW_STATUSES;
  return { of, total: counted.reduce((sum, status) => sum + of(status), 0) };
}

function chosenStatuses(filter: string): readonly string[] {
  return parseFilter(filter)?.find((each) => each.field === "status" && each.operator === "=")?.values ?? [];
}

/** The counts as switches of the filter. */
function StatusCounts({ filter, onChange, counts }: { filter: string; onChange: (filter: string) => void; counts: Counts }) {
  const chosen = chosenStatuses(filter);
  const toggle = (status: string) => {
    const next = chosen.includes(status) ? chosen.filter((each) => each !== status) : [...chosen, status];
    onChange(withValues(filter, "status", next) ?? filter);
  };
  return (
    <div className="status-counts" role="group" aria-label={text.statusFilter}>
      {WORKFLOW_STATUSES.map((status) => (
        <button key={status} type="button" className={`status-count tone-${statusTone(status)}`} aria-pressed={chosen.includes(status)}
          disabled={parseFilter(filter) === undefined} onClick={() => toggle(status)}>
          <Icon name={statusIcon(status)} />
          <span>{statusLabel(status)}</span>
          <b className="num">{counts.of(status).toLocaleString("en")}</b>
        </button>
      ))}
    </div>
  );
}
