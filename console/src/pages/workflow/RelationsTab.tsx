import { useLocation } from "wouter";
import { useRelations, type LockRelation, type RelatedWorkflow } from "../../api/insight";
import type { Workflow } from "../../api/types";
import { s } from "../../strings";
import { Badge, CopyButton, Loaded, PageLink, Panel, StatusBadge, Table, Time, type Column } from "../../ui";

const text = s.workflow;

const childColumns: readonly Column<RelatedWorkflow>[] = [
  { id: "status", header: s.workflows.status, width: "8.5rem", cell: (row) => (row.status ? <StatusBadge status={row.status} /> : <span className="muted">–</span>) },
  { id: "step", header: text.columns.step, cell: (row) => <span className="mono">{row.step}</span> },
  { id: "definition", header: s.workflows.definition, from: 420, cell: (row) => row.definition ?? "–" },
  { id: "id", header: s.workflows.id, width: "minmax(9rem, 1.4fr)", cell: (row) => <PageLink page="/workflows/:id" to={`/workflows/${row.id}`} className="mono">{row.id}</PageLink> },
];

const lockNames = text.lockColumns;
const lockColumns: readonly Column<LockRelation>[] = [
  { id: "state", header: lockNames.state, width: "6rem", cell: (row) => (row.held ? <Badge tone="good" icon="lock">{text.held}</Badge> : <Badge tone="hold" icon="clock">{text.waits}</Badge>) },
  { id: "key", header: lockNames.key, cell: (row) => <span className="mono">{row.key}{row.shared && <span className="muted"> {text.shared}</span>}</span> },
  { id: "step", header: lockNames.step, from: 520, cell: (row) => row.step ?? "–" },
  { id: "token", header: lockNames.token, width: "6rem", align: "end", from: 640, cell: (row) => <span className="num">{row.fencing_token ?? "–"}</span> },
  { id: "holder", header: lockNames.holder, from: 420, cell: (row) => <Holder row={row} /> },
  { id: "since", header: lockNames.since, width: "5rem", align: "end", cell: (row) => <Time at={row.requested_at} /> },
];

const WORKFLOW_ID = /[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}/;
function Holder({ row }: { row: LockRelation }) {
  if (row.held || !row.holder) return <span className="muted">–</span>;
  const id = WORKFLOW_ID.exec(row.holder)?.[0];
  return id ? <PageLink page="/workflows/:id" to={`/workflows/${id}`} className="mono">{row.holder}</PageLink> : <span className="mono">{row.holder}</span>;
}

/** The relations of the workflow: parent, children, schedule, locks and trace. */
export function RelationsTab({ workflow }: { workflow: Workflow }) {
  const relations = useRelations(workflow.id, workflow.seq);
  const [, navigate] = useLocation();
  return (
    <Loaded query={relations}>
      {({ parent, children, is_more, schedule, locks, trace_id }) => (
        // The area scrolls, and can hold nothing that takes the focus.
        // eslint-disable-next-line jsx-a11y/no-noninteractive-tabindex
        <div className="relations" role="group" aria-label={text.tabs.relations} tabIndex={0}>
          <Panel title={text.parent}>
            <div className="panel-body">
              {parent ? (
                <p className="row">
                  {parent.status && <StatusBadge status={parent.status} />}
                  <PageLink page="/workflows/:id" to={`/workflows/${parent.id}`}>{parent.definition ?? parent.id}</PageLink>
                  {parent.step && <span className="mono muted">{parent.step}</span>}
                </p>
              ) : <p className="muted">{text.noParent}</p>}
            </div>
          </Panel>
          <Panel title={text.schedule}>
            <div className="panel-body">
              {schedule ? <p className="row"><PageLink page="/schedules" to={`/schedules?name=${encodeURIComponent(schedule.name)}`}>{schedule.name}</PageLink>{schedule.time && <span className="muted">{text.scheduleTime} <Time at={schedule.time} mode="local" /></span>}</p> : <p className="muted">{text.noSchedule}</p>}
            </div>
          </Panel>
          <Panel title={text.trace}>
            <div className="panel-body">
              {trace_id ? <><p className="row"><code>{trace_id}</code><CopyButton text={trace_id} /></p><p className="muted">{text.traceHint}</p></> : <p className="muted">{text.noTrace}</p>}
            </div>
          </Panel>
          <Panel title={text.children} className="wide">
            {children.length > 0 ? <Table label={text.children} auto columns={childColumns} rows={children} rowKey={(row) => row.id} onOpen={(row) => navigate(`/workflows/${row.id}`)} />
              : <div className="panel-body"><p className="muted">{text.noChildren}</p></div>}
            {is_more && <div className="panel-body"><p className="muted">{text.moreChildren}</p></div>}
          </Panel>
          <Panel title={text.locks} className="wide">
            {locks.length > 0 ? <Table label={text.locks} auto columns={lockColumns} rows={locks} rowKey={(row) => `${row.key}${row.step ?? ""}`} />
              : <div className="panel-body"><p className="muted">{text.noLocks}</p></div>}
          </Panel>
        </div>
      )}
    </Loaded>
  );
}
