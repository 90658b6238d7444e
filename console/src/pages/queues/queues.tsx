import { useQuery } from "@tanstack/react-query";
import type { components } from "../../api/schema";
import { usePermissions } from "../../api/access";
import { api, data } from "../../api/client";
import { keys } from "../../api/keys";
import { REFRESH } from "../../api/query";
import type { Backlog } from "../../api/types";
import { s } from "../../strings";
import { Badge, Button, confirmAction, Empty, Loaded, Menu, Page, Panel, Table, Time, type Column } from "../../ui";
import { Facts } from "../system/parts";

const text = s.queues;
type Switch = components["schemas"]["SwitchView"];
type Target = components["schemas"]["SwitchBody"]["to"];
const TARGETS: readonly Target[] = ["kafka", "nats", "rabbitmq", "kinesis"];

const queueName = (queue: string) => text.names[queue] ?? queue;

const count = (lane: Backlog["execute"]) => <span className="num">{lane.waiting?.toLocaleString("en") ?? "–"}</span>;
const columns: readonly Column<Backlog>[] = [
  { id: "service", header: s.services.name, cell: (row) => <strong>{row.service}</strong> },
  { id: "namespace", header: text.namespace, from: 420, cell: (row) => row.namespace },
  { id: "served", header: s.services.servedBy, width: "6.5rem", from: 560, cell: (row) => (row.served ? <Badge tone="good" icon="check">{text.served}</Badge> : <Badge tone="bad" icon="alert">{s.services.notServed}</Badge>) },
  { id: "execute", header: s.services.execute, width: "7.5rem", align: "end", cell: (row) => count(row.execute) },
  { id: "executeOldest", header: s.services.oldest, width: "5rem", align: "end", from: 640, cell: (row) => <Time at={row.execute.oldest_waiting_at} /> },
  { id: "compensate", header: s.services.compensate, width: "7rem", align: "end", cell: (row) => count(row.compensate) },
  { id: "compensateOldest", header: s.services.oldest, width: "5rem", align: "end", from: 640, cell: (row) => <Time at={row.compensate.oldest_waiting_at} /> },
];

function start(to: Target): void {
  confirmAction({
    title: text.switchTitle(queueName(to)), body: text.switchBody, verb: text.switchVerb, danger: true, reason: "none", done: text.switchDone(queueName(to)),
    run: () => data(api.POST("/api/v1/queues/switch", { body: { to } })),
    refresh: [keys.queues()], audit: { target_kind: "queue" },
  });
}

export default function Queues() {
  const { can } = usePermissions();
  const queues = useQuery({ queryKey: keys.queues(), queryFn: ({ signal }) => data(api.GET("/api/v1/queues", { signal })), refetchInterval: REFRESH.normal });
  const change = useQuery({
    queryKey: [...keys.queues(), "switch"],
    queryFn: ({ signal }) => data(api.GET("/api/v1/queues/switch", { signal })),
    refetchInterval: ({ state }) => (state.data?.phase ? 1_000 : REFRESH.normal),
  });
  const state = change.data;
  const targets = TARGETS.filter((target) => target !== state?.queue);
  // A server in one process has no other queue.
  const offered = can("queues.operate") && state && !state.phase && state.queue !== "memory";
  return (
    <Page title={text.title} actions={offered && (
      <Menu trigger={{ text: text.switchTo, icon: "queue" }} label={text.switchTo} items={targets.map((to) => ({ text: queueName(to), onSelect: () => start(to) }))} />
    )}>
      <Panel title={state?.phase && state.to ? text.switching(queueName(state.queue), queueName(state.to)) : text.current}
        actions={state?.phase && can("queues.operate") && TARGETS.includes(state.queue as Target)
          ? <Button small icon="undo" onClick={() => start(state.queue as Target)}>{text.reverse(queueName(state.queue))}</Button> : undefined}>
        <div className="panel-body stack">
          <Loaded query={change} lines={2}>{(view) => (view.phase ? <Progress view={view} /> : <Settled view={view} />)}</Loaded>
        </div>
      </Panel>
      <Panel title={text.backlog}>
        <Loaded query={queues}>
          {({ services }) => (
            <Table label={text.backlog} auto columns={columns} rows={services} rowKey={(row) => `${row.namespace}/${row.service}`}
              empty={<Empty title={text.noBacklogTitle} hint={text.noBacklogHint} />} />
          )}
        </Loaded>
      </Panel>
    </Page>
  );
}

function Settled({ view }: { view: Switch }) {
  return (
    <Facts items={[
      [text.current, <strong key="queue">{queueName(view.queue)}</strong>],
      [text.since, view.since ? <Time at={view.since} mode="local" /> : text.never],
      [text.actor, view.actor],
      [text.revision, view.revision > 0 && String(view.revision)],
    ]} />
  );
}

function Progress({ view }: { view: Switch }) {
  const at = text.phases.findIndex(([phase]) => phase === view.phase);
  return (
    <>
      <ol className="phases">
        {text.phases.map(([phase, title, hint], index) => {
          const state = index < at ? "past" : index === at ? "now" : "next";
          const label = { past: text.phasePast, now: text.phaseNow, next: text.phaseNext }[state];
          return (
            <li key={phase} className={state} aria-current={state === "now" ? "step" : undefined}>
              <span><strong>{title}</strong> <span className="muted">({label})</span></span>
              <p>{hint}</p>
            </li>
          );
        })}
      </ol>
      <Facts items={[
        [text.left, view.waiting?.toLocaleString("en") ?? text.unknown],
        [text.behind, view.behind.length === 0 ? text.allFollow : <ul key="behind">{view.behind.map((each) => <li key={each.instance} className="mono">{each.instance} <span className="muted">{each.kind}</span></li>)}</ul>],
        [text.since, <Time key="since" at={view.since} />],
        [text.actor, view.actor],
        [text.revision, String(view.revision)],
      ]} />
    </>
  );
}
