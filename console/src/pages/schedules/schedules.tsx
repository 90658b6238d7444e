import { useState } from "react";
import { Link, useLocation } from "wouter";
import { usePermissions } from "../../api/access";
import { api, data } from "../../api/client";
import { keys } from "../../api/keys";
import { usePaged } from "../../api/paged";
import { REFRESH } from "../../api/query";
import type { Schedule } from "../../api/types";
import { s } from "../../strings";
import { Badge, Button, Empty, Page, Table, Time, type Column } from "../../ui";
import { ListState } from "../system/parts";
import { ScheduleForm } from "./form";

const text = s.schedules;
const to = (name: string) => `/schedules/${encodeURIComponent(name)}`;

export function When({ schedule }: { schedule: Schedule }) {
  if (schedule.every) return <>{text.everyText(schedule.every)}</>;
  return <><span className="mono">{schedule.cron}</span> <span className="muted">{schedule.timezone ?? "UTC"}</span></>;
}

export function State({ schedule }: { schedule: Schedule }) {
  if (schedule.paused) return <Badge tone="hold" icon="pause">{text.paused}</Badge>;
  if (schedule.last_failure) return <Badge tone="bad" icon="alert">{text.failing}</Badge>;
  return <Badge tone="good" icon="check">{text.active}</Badge>;
}

const columns: readonly Column<Schedule>[] = [
  { id: "name", header: text.name, cell: (row) => <Link href={to(row.name)}>{row.name}</Link> },
  { id: "state", header: text.state, width: "9rem", cell: (row) => <State schedule={row} /> },
  { id: "definition", header: text.definition, from: 560, cell: (row) => row.definition },
  { id: "when", header: text.when, width: "minmax(0, 1.2fr)", from: 700, cell: (row) => <When schedule={row} /> },
  { id: "last", header: text.last, width: "5rem", align: "end", from: 820, cell: (row) => <Time at={row.last_due} /> },
  { id: "next", header: text.next, width: "5.5rem", align: "end", from: 400, cell: (row) => <Time at={row.next_due} /> },
  { id: "started", header: text.started, width: "5rem", align: "end", from: 940, cell: (row) => <span className="num">{row.started.toLocaleString("en")}</span> },
];

export default function Schedules() {
  const { can } = usePermissions();
  const [creating, setCreating] = useState(false);
  const [, navigate] = useLocation();
  const { query, rows, more } = usePaged(keys.schedules(), async (token, signal) => {
    const page = await data(api.GET("/api/v1/schedules", { params: { query: { page_size: 200, page_token: token } }, signal }));
    return { rows: page.schedules, next: page.next_page_token };
  }, REFRESH.normal);
  const write = can("schedules.write") && can("workflows.start");
  const create = write && <Button tone="primary" icon="plus" onClick={() => setCreating(true)}>{text.create}</Button>;
  return (
    <Page title={text.title} full actions={create}>
      <section className="panel fill" aria-label={text.title}>
        <ListState query={query}>
          <Table label={text.title} columns={columns} rows={rows} rowKey={(row) => row.name} onOpen={(row) => navigate(to(row.name))} onEnd={more}
            empty={<Empty title={text.emptyTitle} hint={text.emptyHint} />} foot={<span className="num">{s.ui.rows(rows.length)}</span>} />
        </ListState>
      </section>
      {creating && <ScheduleForm onClose={() => setCreating(false)} onDone={(name) => navigate(to(name))} />}
    </Page>
  );
}
