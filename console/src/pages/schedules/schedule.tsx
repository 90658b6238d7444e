import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { useLocation, useParams } from "wouter";
import { usePermissions } from "../../api/access";
import { api, data } from "../../api/client";
import { keys } from "../../api/keys";
import { REFRESH } from "../../api/query";
import type { Schedule } from "../../api/types";
import { s } from "../../strings";
import { Button, confirmAction, Empty, Icon, JsonView, Loaded, Menu, Page, PageLink, Panel, StatusBadge, Table, Time, type Column, type MenuItem } from "../../ui";
import { Facts } from "../system/parts";
import { BackfillForm, ScheduleForm } from "./form";
import { State, When } from "./schedules";

const text = s.schedules;
const NEXT = 10;
type Run = Schedule["recent"][number];

export default function SchedulePage() {
  const name = decodeURIComponent(useParams<{ name: string }>().name);
  const query = useQuery({
    queryKey: [...keys.schedules(), "one", name],
    queryFn: ({ signal }) => data(api.GET("/api/v1/schedules/{name}", { params: { path: { name } }, signal })), refetchInterval: REFRESH.normal,
  });
  return (
    <Page title={name} actions={query.data && <Actions schedule={query.data} />}>
      <Loaded query={query}>
        {(schedule) => (
          <>
            {schedule.backfill && (
              <div className="notice tone-forward" role="status"><Icon name="retry" />{text.backfilling(schedule.backfill.done_until, schedule.backfill.until)}</div>
            )}
            <div className="columns">
              <Overview schedule={schedule} />
              <NextTimes schedule={schedule} />
            </div>
            <Runs runs={schedule.recent} />
          </>
        )}
      </Loaded>
    </Page>
  );
}

function Overview({ schedule }: { schedule: Schedule }) {
  const failure = schedule.last_failure;
  return (
    <Panel title={text.settings}>
      <div className="panel-body stack">
        <Facts items={[
          [text.state, <State key="state" schedule={schedule} />],
          [s.common.reason, schedule.paused?.reason],
          [text.paused, schedule.paused && <><Time at={schedule.paused.since} /> {schedule.paused.actor && <span className="muted">{text.pausedBy(schedule.paused.actor)}</span>}</>],
          [text.lastFailure, failure && <><Time at={failure.due} /> {failure.reason}</>],
          [text.definition, <PageLink key="definition" page="/definitions/:name" to={`/definitions/${encodeURIComponent(schedule.definition)}`}>{schedule.definition}</PageLink>],
          [text.version, schedule.version ?? text.newest],
          [text.when, <When key="when" schedule={schedule} />],
          [text.overlapShort, text.overlaps[schedule.overlap] ?? schedule.overlap],
          [text.catchUp, schedule.catch_up],
          [text.buffered, schedule.buffered && <Time at={schedule.buffered} mode="local" />],
          [text.started, schedule.started.toLocaleString("en")],
          [text.skipped, schedule.skipped.toLocaleString("en")],
          [text.missed, schedule.missed.toLocaleString("en")],
          [text.failed, schedule.failed.toLocaleString("en")],
          [text.origin, text.origins[schedule.origin] ?? schedule.origin],
          [text.labels, Object.entries(schedule.labels).map(([label, value]) => <span key={label} className="chip"><span>{label}={value}</span></span>)],
        ]} />
        <h3>{text.input}</h3>
        <JsonView label={text.input} value={schedule.input} />
      </div>
    </Panel>
  );
}

function NextTimes({ schedule }: { schedule: Schedule }) {
  const { name } = schedule;
  const query = useQuery({
    queryKey: [...keys.schedules(), "next", name, String(schedule.generation), schedule.next_due],
    queryFn: ({ signal }) => data(api.GET("/api/v1/schedules/{name}/next", { params: { path: { name }, query: { count: NEXT } }, signal })),
    placeholderData: (old) => old,
  });
  return (
    <Panel title={text.nextTimes}>
      <div className="panel-body stack">
        {schedule.paused && <p className="muted">{text.nextPaused}</p>}
        <Loaded query={query}>
          {({ due_times }) => (due_times.length === 0 ? <p className="muted">{text.noNextTimes}</p> : (
            <ol className="times">{due_times.map((time) => <li key={time}><Time at={time} mode="local" /> <span className="muted"><Time at={time} /></span></li>)}</ol>
          ))}
        </Loaded>
      </div>
    </Panel>
  );
}

const columns: readonly Column<Run>[] = [
  { id: "status", header: text.runStatus, width: "8.5rem", cell: (row) => (row.status ? <StatusBadge status={row.status} /> : <span className="muted">{text.gone}</span>) },
  { id: "workflow", header: text.run, cell: (row) => <PageLink page="/workflows/:id" to={`/workflows/${row.workflow}`} className="mono">{row.workflow}</PageLink> },
  { id: "kind", header: text.runKind, width: "7rem", from: 520, cell: (row) => text.runKinds[row.kind] ?? row.kind },
  { id: "due", header: text.due, width: "9rem", align: "end", from: 400, cell: (row) => <Time at={row.due} mode="local" /> },
];

function Runs({ runs }: { runs: readonly Run[] }) {
  return (
    <Panel title={text.runs}>
      <Table label={text.runs} auto columns={columns} rows={runs} rowKey={(row) => row.workflow} empty={<Empty title={text.noRuns} />} />
    </Panel>
  );
}

function Actions({ schedule }: { schedule: Schedule }) {
  const { can } = usePermissions();
  const [open, setOpen] = useState<"edit" | "backfill">();
  const [, navigate] = useLocation();
  const { name } = schedule;
  const path = { params: { path: { name } } };
  const audit = { target_kind: "schedule", target_name: name };
  const refresh = [keys.schedules()];
  const operate = can("schedules.operate");
  const start = operate && can("workflows.start");
  const write = can("schedules.write") && can("workflows.start");
  const trigger = () => confirmAction({
    title: text.triggerTitle(name), body: text.triggerBody, verb: text.trigger, reason: "none", done: (result) => text.triggered((result as { workflow: string }).workflow), refresh, audit,
    run: () => data(api.POST("/api/v1/schedules/{name}/trigger", { params: { path: { name }, header: { "Idempotency-Key": crypto.getRandomValues(new Uint32Array(4)).join("-") } } })),
  });
  const pause = () => confirmAction(schedule.paused
    ? { title: text.resumeTitle(name), body: text.resumeBody, verb: text.resume, done: text.resumeDone(name), refresh, audit,
        run: (reason) => data(api.POST("/api/v1/schedules/{name}/resume", { ...path, body: { reason } })) }
    : { title: text.pauseTitle(name), body: text.pauseBody, verb: text.pause, done: text.pauseDone(name), refresh, audit,
        run: (reason) => data(api.POST("/api/v1/schedules/{name}/pause", { ...path, body: { reason } })) });
  const remove = () => confirmAction({
    title: text.removeTitle(name), body: text.removeBody, verb: text.remove, danger: true, reason: "none", done: text.removed(name), audit,
    run: async () => {
      await data(api.DELETE("/api/v1/schedules/{name}", { params: { path: { name }, header: { "If-Match": `"${String(schedule.generation)}"` } } }));
      navigate("/schedules");
    },
    refresh,
  });
  const items: MenuItem[] = [
    ...(start ? [{ text: text.backfill, icon: "calendar" as const, onSelect: () => setOpen("backfill") }] : []),
    ...(write ? [{ text: text.edit, icon: "gear" as const, onSelect: () => setOpen("edit") }] : []),
    ...(can("schedules.write") ? [{ text: text.remove, icon: "cross" as const, danger: true, onSelect: remove }] : []),
  ];
  return (
    <>
      {start && <Button tone="primary" icon="play" onClick={trigger}>{text.trigger}</Button>}
      {operate && <Button icon={schedule.paused ? "play" : "pause"} onClick={pause}>{schedule.paused ? text.resume : text.pause}</Button>}
      {items.length > 0 && <Menu trigger={{ text: s.common.more, icon: "down" }} label={s.common.more} items={items} />}
      {open === "edit" && <ScheduleForm schedule={schedule} onClose={() => setOpen(undefined)} />}
      {open === "backfill" && <BackfillForm name={name} onClose={() => setOpen(undefined)} />}
    </>
  );
}
