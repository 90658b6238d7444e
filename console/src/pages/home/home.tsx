import { useQuery } from "@tanstack/react-query";
import type { CSSProperties } from "react";
import { Link, useLocation } from "wouter";
import { api, data } from "../../api/client";
import { keys } from "../../api/keys";
import { useOverview, type Overview } from "../../api/overview";
import { REFRESH } from "../../api/query";
import { WORKFLOW_STATUSES, type Service, type WorkflowSummary } from "../../api/types";
import { pageExists } from "../../routes";
import { s } from "../../strings";
import { Badge, CopyButton, Empty, formatDuration, Icon, Loaded, Page, PageLink, Panel, StatusBadge, statusIcon, statusLabel, statusTone, Table, Time, type Column } from "../../ui";
import { useWorkflowList } from "../workflows/useWorkflowList";
import { attention, percent, workflowsWith, type Attention } from "./attention";
import "./home.css";

const text = s.home;
const RECENT = 8;

export default function Home() {
  const overview = useOverview({ every: REFRESH.fast });
  const services = useQuery({ queryKey: keys.services(), queryFn: ({ signal }) => data(api.GET("/api/v1/services", { signal })), refetchInterval: REFRESH.normal });
  return (
    <Page title={text.title}>
      <Loaded query={overview} lines={6}>
        {(view) => {
          const count = (status: string) => view.workflows.find((each) => each.value === status)?.count ?? 0;
          const total = view.workflows.reduce((sum, each) => sum + each.count, 0);
          return (
            <>
              <Needs items={attention(view)} />
              {total === 0 ? <FirstSteps /> : <><Counts total={total} count={count} /><Figures overview={view} /></>}
              <div className="home-columns">
                {total > 0 && <Recent />}
                <Panel title={text.services} actions={<PageLink page="/services" to="/services">{text.allServices}</PageLink>}>
                  <Loaded query={services}>{(list) => <Services services={list.services} />}</Loaded>
                </Panel>
              </div>
            </>
          );
        }}
      </Loaded>
    </Page>
  );
}

/** Figures of the last hour, or of the newest workflows if there were too many. */
function Figures({ overview: { recent, backlog } }: { overview: Overview }) {
  const ms = (value: number | null) => (value === null ? text.noFigure : formatDuration(value));
  const figures = [
    [text.starts, recent.starts_per_minute < 10 ? recent.starts_per_minute.toFixed(2) : Math.round(recent.starts_per_minute).toLocaleString("en"), ""],
    [text.failures, percent(recent.failure_ratio), text.failuresHint],
    [text.undos, percent(recent.undo_ratio), text.undosHint],
    [text.p50, ms(recent.duration_p50_ms), ""],
    [text.p99, ms(recent.duration_p99_ms), ""],
    [text.due, backlog.toLocaleString("en"), text.dueHint],
  ] as const;
  return (
    <Panel title={text.figures(Math.round(recent.window_seconds / 60))} actions={!recent.is_complete && <span className="muted">{text.figuresSample(recent.sampled)}</span>}>
      <dl className="figures">
        {figures.map(([name, value, hint]) => (
          <div key={name} title={hint || undefined}><dt>{name}</dt><dd className="num">{value}</dd></div>
        ))}
      </dl>
    </Panel>
  );
}

function Needs({ items }: { items: readonly Attention[] }) {
  if (items.length === 0) {
    return (
      <div className="calm"><Icon name="check" /><strong>{text.calm}</strong><span className="muted">{text.calmHint}</span></div>
    );
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
              {item.workflows && <Named workflows={item.workflows} />}
            </div>
          </li>
        ))}
      </ul>
    </Panel>
  );
}

const NAMED = 3;
function Named({ workflows }: { workflows: readonly WorkflowSummary[] }) {
  return (
    <ul className="named">
      {workflows.slice(0, NAMED).map((each) => (
        <li key={each.id}>
          <PageLink page="/workflows/:id" to={`/workflows/${each.id}`}><span className="mono">{each.id}</span></PageLink>
          <span>{each.definition}</span>
          <span className="muted"><Time at={each.created_at} /></span>
        </li>
      ))}
    </ul>
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

const serviceColumns: readonly Column<Service>[] = [
  { id: "name", header: text.service, cell: (row) => <PageLink page="/services" to={`/services?service=${encodeURIComponent(row.name)}`}>{row.name}</PageLink> },
  { id: "served", header: text.workers, width: "6.5rem", cell: (row) => <ServedBy service={row} /> },
  { id: "waiting", header: text.waiting, width: "5rem", align: "end", cell: (row) => <span className="num">{row.backlog.toLocaleString("en")}</span> },
];

function Services({ services }: { services: readonly Service[] }) {
  return <Table label={text.services} auto columns={serviceColumns} rows={services} rowKey={(row) => row.name}
    empty={<Empty title={text.noServices} hint={text.noServicesHint} />} />;
}

function ServedBy({ service }: { service: Service }) {
  if (!service.served) return <Badge tone="bad" icon="alert">{text.notServed}</Badge>;
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
