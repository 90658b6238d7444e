import { useQuery } from "@tanstack/react-query";
import type { CSSProperties } from "react";
import { Link, useLocation } from "wouter";
import { api, data } from "../../api/client";
import { keys } from "../../api/keys";
import { REFRESH } from "../../api/query";
import { currentNamespace } from "../../api/session";
import { WORKFLOW_STATUSES, type Backlog, type Service, type WorkflowSummary } from "../../api/types";
import { pageExists } from "../../routes";
import { s } from "../../strings";
import { Badge, CopyButton, Empty, Icon, Loaded, Page, PageLink, Panel, StatusBadge, statusIcon, statusLabel, statusTone, Table, Time, type Column } from "../../ui";
import { useWorkflowList } from "../workflows/useWorkflowList";
import { attention, STUCK_FILTER, workflowsWith, type Attention } from "./attention";
import "./home.css";

const text = s.home;
const RECENT = 8;

function useFacts() {
  const every = { refetchInterval: REFRESH.normal } as const;
  const counts = useQuery({
    queryKey: keys.workflowCounts("status", ""),
    queryFn: ({ signal }) => data(api.GET("/api/v1/workflow-counts", { params: { query: { by: "status" } }, signal })),
  });
  const stuck = useQuery({
    queryKey: keys.workflowCounts("status", STUCK_FILTER),
    queryFn: ({ signal }) => data(api.GET("/api/v1/workflow-counts", { params: { query: { by: "status", filter: STUCK_FILTER } }, signal })),
    refetchInterval: REFRESH.slow,
  });
  const services = useQuery({ queryKey: keys.services(), queryFn: ({ signal }) => data(api.GET("/api/v1/services", { signal })), ...every });
  const queues = useQuery({ queryKey: keys.queues(), queryFn: ({ signal }) => data(api.GET("/api/v1/queues", { signal })), ...every });
  const elections = useQuery({ queryKey: keys.elections(), queryFn: ({ signal }) => data(api.GET("/api/v1/elections", { signal })), ...every });
  const letters = useQuery({
    queryKey: [...keys.deadLetters(), "count"],
    queryFn: ({ signal }) => data(api.GET("/api/v1/dead-letters", { params: { query: { page_size: 100 } }, signal })),
    ...every,
  });
  return { counts, stuck, services, queues, elections, letters };
}

export default function Home() {
  const facts = useFacts();
  const counts = facts.counts.data?.counts ?? [];
  const count = (status: string) => counts.find((each) => each.value === status)?.count ?? 0;
  const total = counts.reduce((sum, each) => sum + each.count, 0);
  const needs = attention({
    errors: count("ERROR"),
    stuck: facts.stuck.data?.counts.reduce((sum, each) => sum + each.count, 0) ?? 0,
    services: facts.services.data?.services,
    backlogs: facts.queues.data?.services,
    namespace: currentNamespace(),
    leaders: facts.elections.data?.elections,
    deadLetters: facts.letters.data && { count: facts.letters.data.dead_letters.length, more: facts.letters.data.next_page_token !== "" },
  });
  const known = facts.counts.isSuccess && facts.services.isSuccess && facts.elections.isSuccess;
  return (
    <Page title={text.title}>
      <Needs items={needs} known={known} />
      <Loaded query={facts.counts} lines={3}>
        {() => (total === 0 ? <FirstSteps /> : <Counts total={total} count={count} />)}
      </Loaded>
      <div className="home-columns">
        {total > 0 && <Recent />}
        <Panel title={text.services}>
          <Loaded query={facts.services}>
            {({ services }) => <Services services={services} backlogs={facts.queues.data?.services ?? []} />}
          </Loaded>
        </Panel>
      </div>
    </Page>
  );
}

function Needs({ items, known }: { items: readonly Attention[]; known: boolean }) {
  if (items.length === 0) {
    return known ? (
      <div className="calm"><Icon name="check" /><strong>{text.calm}</strong><span className="muted">{text.calmHint}</span></div>
    ) : null;
  }
  return (
    <Panel title={text.needs} className="needs">
      <ul>
        {items.map((item) => (
          <li key={item.id} className={`need tone-${item.tone}`}>
            <Icon name={item.icon} />
            <div>
              <strong><PageLink page={item.page} to={item.to}>{item.title}</PageLink></strong>
              <p className="muted">{item.hint}</p>
            </div>
          </li>
        ))}
      </ul>
    </Panel>
  );
}

function Counts({ total, count }: { total: number; count: (status: string) => number }) {
  const present = WORKFLOW_STATUSES.filter((status) => count(status) > 0);
  return (
    <Panel title={text.byStatus} actions={<span className="muted num">{total.toLocaleString("en")}</span>}>
      <div className="panel-body stack">
        <div className="proportion" aria-hidden="true">
          {present.map((status) => (
            <i key={status} className={`tone-${statusTone(status)}`} style={{ "--share": count(status) } as CSSProperties} />
          ))}
        </div>
        <ul className="counts">
          {WORKFLOW_STATUSES.map((status) => (
            <li key={status} className={`tone-${statusTone(status)}${count(status) === 0 ? " zero" : ""}`}>
              <Link href={workflowsWith(`status = ${status}`)}>
                <b className="num">{count(status).toLocaleString("en")}</b>
                <span><Icon name={statusIcon(status)} /> {statusLabel(status)}</span>
              </Link>
            </li>
          ))}
        </ul>
      </div>
    </Panel>
  );
}

const recentColumns: readonly Column<WorkflowSummary>[] = [
  { id: "status", header: s.workflows.status, width: "8.5rem", cell: (row) => <StatusBadge status={row.status} /> },
  { id: "definition", header: s.workflows.definition, cell: (row) => <PageLink page="/workflows/:id" to={`/workflows/${row.id}`}>{row.definition}</PageLink> },
  { id: "key", header: s.workflows.id, from: 520, cell: (row) => <span className="mono muted">{row.id}</span> },
  { id: "created", header: s.workflows.created, width: "5rem", align: "end", from: 380, cell: (row) => <Time at={row.created_at} /> },
];

function Recent() {
  const list = useWorkflowList("");
  const [, navigate] = useLocation();
  const { fresh, showFresh } = list;
  return (
    <Panel title={text.recent} actions={<Link href="/workflows">{text.all}</Link>}>
      {fresh > 0 && <button type="button" className="menu-item" onClick={showFresh}>{s.workflows.newRows(fresh)}</button>}
      <Table label={text.recent} auto columns={recentColumns} rows={list.rows.slice(0, RECENT)} rowKey={(row) => row.id}
        {...(pageExists("/workflows/:id") && { onOpen: (row: WorkflowSummary) => navigate(`/workflows/${row.id}`) })} />
    </Panel>
  );
}

function Services({ services, backlogs }: { services: readonly Service[]; backlogs: readonly Backlog[] }) {
  const lanes = (name: string) => backlogs.find((each) => each.service === name && each.namespace === currentNamespace());
  const columns: readonly Column<Service>[] = [
    { id: "name", header: text.service, cell: (row) => row.name },
    { id: "served", header: text.workers, width: "6.5rem", cell: (row) => <ServedBy service={row} /> },
    {
      id: "waiting", header: text.waiting, width: "5rem", align: "end",
      cell: (row) => <span className="num">{((lanes(row.name)?.execute.waiting ?? 0) + (lanes(row.name)?.compensate.waiting ?? 0)).toLocaleString("en")}</span>,
    },
    { id: "oldest", header: text.oldest, width: "5rem", align: "end", from: 400, cell: (row) => <Time at={lanes(row.name)?.execute.oldest_waiting_at ?? lanes(row.name)?.compensate.oldest_waiting_at} /> },
  ];
  return <Table label={text.services} auto columns={columns} rows={services} rowKey={(row) => row.name}
    empty={<Empty title={text.noServices} hint={text.noServicesHint} />} />;
}

function ServedBy({ service }: { service: Service }) {
  if (!service.served) return <Badge tone="bad" icon="alert">{text.nobody}</Badge>;
  if (service.workers > 0) return <>{text.workerCount(service.workers)}</>;
  return <>{text.http}</>;
}

function FirstSteps() {
  return (
    <Panel title={text.emptyTitle}>
      <div className="panel-body stack">
        <p>{text.emptyHint}</p>
        <ol className="first-steps">
          {text.emptySteps.map(([title, command]) => (
            <li key={title}>
              <span>{title}</span>
              <div className="command"><code>{command}</code><CopyButton text={command} /></div>
            </li>
          ))}
        </ol>
      </div>
    </Panel>
  );
}
