import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { usePermissions } from "../../api/access";
import { api, data } from "../../api/client";
import { keys } from "../../api/keys";
import { REFRESH } from "../../api/query";
import { currentNamespace } from "../../api/session";
import type { Backlog, Process, Service } from "../../api/types";
import { s } from "../../strings";
import { Badge, Button, confirmAction, Empty, Loaded, Page, Panel, Table, TextArea, TextField, Time, useParam, type Column } from "../../ui";
import { Detail, Facts, FormDialog, Split } from "../system/parts";
import { formatPairs, serviceBody } from "./pairs";

const text = s.services;

interface Row extends Service {
  lanes: Backlog | undefined;
}

const waiting = (row: Row, side: "execute" | "compensate") => <span className="num">{row.lanes?.[side].waiting?.toLocaleString("en") ?? "–"}</span>;
const oldest = (row: Row) => [row.lanes?.execute.oldest_waiting_at, row.lanes?.compensate.oldest_waiting_at].filter(Boolean).sort()[0];

function ServedBy({ service }: { service: Service }) {
  if (!service.served) return <Badge tone={service.backlog > 0 ? "bad" : "idle"} icon={service.backlog > 0 ? "alert" : "ring"}>{text.notServed}</Badge>;
  return <Badge tone="good" icon="check">{service.workers > 0 ? text.workers(service.workers) : text.http}</Badge>;
}

const columns: readonly Column<Row>[] = [
  { id: "name", header: text.name, cell: (row) => <strong>{row.name}</strong> },
  { id: "served", header: text.servedBy, width: "7rem", cell: (row) => <ServedBy service={row} /> },
  { id: "backlog", header: text.backlog, width: "7rem", align: "end", from: 420, cell: (row) => <span className="num">{row.backlog.toLocaleString("en")}</span> },
  { id: "execute", header: text.execute, width: "7.5rem", align: "end", from: 620, cell: (row) => waiting(row, "execute") },
  { id: "compensate", header: text.compensate, width: "7rem", align: "end", from: 720, cell: (row) => waiting(row, "compensate") },
  { id: "oldest", header: text.oldest, width: "5rem", align: "end", from: 520, cell: (row) => <Time at={oldest(row)} /> },
  { id: "url", header: text.url, width: "minmax(0, 1.4fr)", from: 900, cell: (row) => <span className="mono muted">{row.http?.url ?? ""}</span> },
];

export default function Services() {
  const [open, setOpen] = useParam("service");
  const [form, setForm] = useState<Service | "new">();
  const { can } = usePermissions();
  const services = useQuery({ queryKey: keys.services(), queryFn: ({ signal }) => data(api.GET("/api/v1/services", { signal })), refetchInterval: REFRESH.normal });
  const queues = useQuery({
    queryKey: keys.queues(), enabled: can("queues.read"),
    queryFn: ({ signal }) => data(api.GET("/api/v1/queues", { signal })), refetchInterval: REFRESH.normal,
  });
  const lanes = (name: string) => queues.data?.services.find((each) => each.service === name && each.namespace === currentNamespace());
  const chosen = services.data?.services.find((each) => each.name === open);
  const write = can("services.write");
  return (
    <Page title={text.title} actions={write && <Button tone="primary" icon="plus" onClick={() => setForm("new")}>{text.set}</Button>}>
      <Split detail={chosen && <ServiceDetail service={chosen} onClose={() => setOpen("")} onEdit={() => setForm(chosen)} />}>
        <section className="panel" aria-label={text.title}>
          <Loaded query={services}>
            {(list) => (
              <Table label={text.title} auto columns={columns} rows={list.services.map((each) => ({ ...each, lanes: lanes(each.name) }))}
                rowKey={(row) => row.name} onOpen={(row) => setOpen(row.name)} empty={<Empty title={text.emptyTitle} hint={text.emptyHint} />} />
            )}
          </Loaded>
        </section>
      </Split>
      {form && <ServiceForm service={form === "new" ? undefined : form} onClose={() => setForm(undefined)} />}
    </Page>
  );
}

interface Serving {
  instance: string;
  by: string;
  workers: number;
  executes: number;
  compensations: number;
  actions: readonly string[];
}

/** The executors that serve a service, from what the processes say about themselves. */
function servingOf(processes: readonly Process[], service: string): Serving[] {
  return processes.flatMap((process) => {
    const about = process.about as { services?: readonly (Omit<Serving, "instance"> & { service: string; namespace: string })[] } | null;
    const list = Array.isArray(about?.services) ? about.services : [];
    return list.filter((each) => each.service === service && each.namespace === currentNamespace()).map((each) => ({ ...each, instance: process.instance }));
  });
}

const servingColumns: readonly Column<Serving>[] = [
  { id: "instance", header: text.executor, cell: (row) => <span className="mono" title={row.instance}>{row.instance}</span> },
  { id: "by", header: text.by, width: "5rem", from: 300, cell: (row) => (row.by === "http" ? text.http : text.workers(row.workers)) },
  { id: "capacity", header: text.capacity, width: "7rem", align: "end", cell: (row) => <span className="num">{row.executes} + {row.compensations}</span> },
];

function ServiceDetail({ service, onClose, onEdit }: { service: Service; onClose: () => void; onEdit: () => void }) {
  const { can } = usePermissions();
  const processes = useQuery({
    queryKey: keys.processes(), enabled: can("processes.read"),
    queryFn: ({ signal }) => data(api.GET("/api/v1/processes", { signal })), refetchInterval: REFRESH.normal,
  });
  const set = Boolean(service.updated_at);
  const actions = can("services.write") && (
    <>
      <Button onClick={onEdit}>{text.edit}</Button>
      {set && <Button tone="danger" onClick={() => remove(service.name)}>{text.remove}</Button>}
    </>
  );
  return (
    <Detail title={service.name} onClose={onClose} actions={actions}>
      <Facts items={[
        [text.servedBy, <ServedBy key="served" service={service} />],
        [text.backlog, service.backlog.toLocaleString("en")],
        [text.url, service.http ? <span className="mono">{service.http.url}</span> : text.workersOnly],
        [text.headers, service.http?.headers && <pre className="payload">{formatPairs(service.http.headers)}</pre>],
        [text.limit, service.max_in_flight?.toLocaleString("en") ?? text.limitDefault],
        [text.actions, service.actions && Object.entries(service.actions).map(([name, limit]) => `${name}: ${limit.max_in_flight}`).join(", ")],
        [text.updated, service.updated_at && <Time at={service.updated_at} mode="local" />],
      ]} />
      {processes.data && (
        <Panel title={text.executors}>
          <Table label={text.executors} auto columns={servingColumns} rows={servingOf(processes.data.processes, service.name)}
            rowKey={(row) => row.instance} empty={<Empty title={text.notServed} />} />
        </Panel>
      )}
    </Detail>
  );
}

function remove(name: string): void {
  confirmAction({
    title: text.removeTitle(name), body: text.removeBody, verb: text.remove, danger: true, reason: "none", done: text.removed(name),
    run: () => data(api.DELETE("/api/v1/services/{name}", { params: { path: { name } } })),
    refresh: [keys.services(), keys.queues()], audit: { target_kind: "service", target_name: name },
  });
}

function ServiceForm({ service, onClose }: { service: Service | undefined; onClose: () => void }) {
  const [name, setName] = useState(service?.name ?? "");
  const [draft, setDraft] = useState({
    url: service?.http?.url ?? "",
    headers: formatPairs(service?.http?.headers),
    limit: service?.max_in_flight ? String(service.max_in_flight) : "",
    actions: formatPairs(Object.fromEntries(Object.entries(service?.actions ?? {}).map(([action, each]) => [action, each.max_in_flight]))),
  });
  const edit = (field: keyof typeof draft) => (event: { target: { value: string } }) => setDraft({ ...draft, [field]: event.target.value });
  const { body, problem } = serviceBody(draft);
  return (
    <FormDialog title={service ? service.name : text.set} verb={service ? text.edit : text.set} onClose={onClose}
      problem={name.trim() === "" ? text.badName : problem} done={text.done(name.trim())} refresh={[keys.services()]}
      run={() => data(api.PUT("/api/v1/services/{name}", { params: { path: { name: name.trim() } }, body: body as never }))}>
      {!service && <TextField label={text.name} hint={text.nameHint} value={name} onChange={(event) => setName(event.target.value)} />}
      <TextField label={text.url} hint={text.urlHint} optional value={draft.url} onChange={edit("url")} />
      <TextArea label={text.headers} hint={text.headersHint} optional rows={2} className="mono" value={draft.headers} onChange={edit("headers")} />
      <TextField label={text.limit} placeholder={text.limitDefault} optional inputMode="numeric" value={draft.limit} onChange={edit("limit")} />
      <TextArea label={text.actions} hint={text.actionsHint} optional rows={2} className="mono" value={draft.actions} onChange={edit("actions")} />
    </FormDialog>
  );
}
