import { useQuery } from "@tanstack/react-query";
import { usePermissions } from "../../api/access";
import { api, data } from "../../api/client";
import { keys } from "../../api/keys";
import { useOverview } from "../../api/overview";
import { REFRESH } from "../../api/query";
import type { Leader } from "../../api/types";
import { s } from "../../strings";
import { Badge, Button, confirmAction, Empty, Icon, Loaded, Page, Panel, Table, Time, type Column } from "../../ui";
import "../system/system.css";

const text = s.elections;

/** The election backend of a process. Servers without movable elections do not send it. */
export interface ElectionProcess {
  process: string;
  kind: string;
  backend: string;
  era: number;
  error?: string | null;
}

interface Elections {
  elections: readonly Leader[];
  moving?: boolean;
  processes?: readonly ElectionProcess[];
}

/** The number of processes that have reached the highest era. */
export function reached(processes: readonly ElectionProcess[]): number {
  const highest = Math.max(...processes.map((each) => each.era));
  return processes.filter((each) => each.era === highest).length;
}

const columns: readonly Column<Leader>[] = [
  { id: "name", header: text.name, cell: (row) => <strong className="mono">{row.name}</strong> },
  { id: "leader", header: text.leader, cell: (row) => <span className="mono" title={row.candidate}>{row.candidate}</span> },
  { id: "token", header: text.token, width: "8rem", align: "end", from: 620, cell: (row) => <span className="num">{String(row.fencing_token)}</span> },
  { id: "since", header: text.since, width: "5.5rem", align: "end", from: 460, cell: (row) => <Time at={row.since} /> },
];
const action: Column<Leader> = {
  id: "action", header: "", width: "6.5rem", align: "end",
  cell: (row) => <Button small tone="danger" onClick={() => stepDown(row)}>{text.stepDown}</Button>,
};

function stepDown(leader: Leader): void {
  confirmAction({
    title: text.stepDownTitle(leader.name), body: text.stepDownBody(leader.candidate), verb: text.stepDown, danger: true, reason: "none",
    done: text.steppedDown(leader.name),
    run: () => data(api.POST("/api/v1/elections/{name}/step-down", { params: { path: { name: leader.name } } })),
    refresh: [keys.elections()], audit: { target_kind: "election", target_name: leader.name },
  });
}

export default function ElectionsPage() {
  const { can } = usePermissions();
  const elections = useQuery({
    queryKey: keys.elections(),
    queryFn: async ({ signal }) => (await data(api.GET("/api/v1/elections", { signal }))) as Elections,
    refetchInterval: ({ state }) => (state.data?.moving ? REFRESH.fast : REFRESH.normal),
  });
  const without = useOverview().data?.elections?.without_leader ?? [];
  return (
    <Page title={text.title}>
      {without.length > 0 && (
        <div className="notice tone-bad" role="status">
          <Icon name="alert" /><strong>{text.without}: <span className="mono">{without.join(", ")}</span></strong><span className="muted">{text.withoutHint}</span>
        </div>
      )}
      <Loaded query={elections}>
        {(view) => (
          <>
            {view.moving && view.processes && <Moving processes={view.processes} />}
            <section className="panel" aria-label={text.title}>
              <Table label={text.title} auto columns={can("elections.operate") ? [...columns, action] : columns} rows={view.elections} rowKey={(row) => row.name}
                empty={<Empty title={text.emptyTitle} hint={text.emptyHint} />} />
            </section>
            {view.processes && view.processes.length > 0 && <Backends processes={view.processes} />}
          </>
        )}
      </Loaded>
    </Page>
  );
}

function Moving({ processes }: { processes: readonly ElectionProcess[] }) {
  const done = reached(processes);
  return (
    <div className="notice tone-forward" role="status">
      <Icon name="retry" /><strong>{text.moving}</strong><span className="muted">{text.movingHint(done, processes.length)}</span>
      <progress aria-label={text.moving} max={processes.length} value={done} />
    </div>
  );
}

function Backends({ processes }: { processes: readonly ElectionProcess[] }) {
  const highest = Math.max(...processes.map((each) => each.era));
  const rows: readonly Column<ElectionProcess>[] = [
    { id: "kind", header: text.kind, width: "8rem", cell: (row) => s.processes.kinds[row.kind] ?? row.kind },
    { id: "process", header: text.process, from: 560, cell: (row) => <span className="mono">{row.process}</span> },
    { id: "backend", header: text.backend, width: "6rem", cell: (row) => row.backend },
    { id: "era", header: text.era, width: "3.5rem", align: "end", cell: (row) => <span className="num">{row.era}</span> },
    {
      id: "state", header: text.state, width: "minmax(6rem, 1fr)",
      cell: (row) => (row.error ? <span title={row.error}><Badge tone="bad" icon="alert">{row.error}</Badge></span>
        : row.era === highest ? <Badge tone="good" icon="check">{text.follows}</Badge> : <Badge tone="undo" icon="clock">{text.behind}</Badge>),
    },
  ];
  return (
    <Panel title={text.processes}>
      <Table label={text.processes} auto columns={rows} rows={processes} rowKey={(row) => row.process} />
    </Panel>
  );
}
