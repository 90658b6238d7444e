import { useQuery } from "@tanstack/react-query";
import { usePermissions } from "../../api/access";
import { api, data } from "../../api/client";
import { keys } from "../../api/keys";
import { REFRESH } from "../../api/query";
import type { Process } from "../../api/types";
import { s } from "../../strings";
import { Badge, Empty, JsonView, Loaded, Page, PageLink, Table, Time, useNow, useParam, type Column } from "../../ui";
import { Detail, Facts, Split } from "../system/parts";

const text = s.processes;
/** Heartbeats are at most a few seconds apart. */
const LATE_MS = 15_000;

interface About {
  release?: string;
  config?: { version?: number; seen?: number };
}
const about = (process: Process) => (process.about ?? {}) as About;
const kind = (process: Process) => text.kinds[process.kind] ?? process.kind;

function Seen({ at }: { at: string }) {
  const now = useNow(5_000);
  const late = now - Date.parse(at) > LATE_MS;
  return <>{late && <Badge tone="bad" icon="alert">{text.late}</Badge>} <Time at={at} /></>;
}

export default function Processes() {
  const { can } = usePermissions();
  const [open, setOpen] = useParam("process");
  const list = useQuery({ queryKey: keys.processes(), queryFn: ({ signal }) => data(api.GET("/api/v1/processes", { signal })), refetchInterval: REFRESH.normal });
  const config = useQuery({
    queryKey: keys.config(), enabled: can("config.read"),
    queryFn: ({ signal }) => data(api.GET("/api/v1/config", { signal })), refetchInterval: REFRESH.slow,
  });
  const pending = (process: Process) => config.data?.pending.filter((each) => each.process === process.instance) ?? [];
  const version = (process: Process) => config.data?.processes.find((each) => each.process === process.instance)?.version ?? about(process).config?.version;
  const columns: readonly Column<Process>[] = [
    { id: "kind", header: text.kind, width: "8.5rem", cell: (row) => <strong>{kind(row)}</strong> },
    { id: "instance", header: text.instance, from: 620, cell: (row) => <span className="mono" title={row.instance}>{row.instance}</span> },
    { id: "address", header: text.address, cell: (row) => <span className="mono">{row.address}</span> },
    {
      id: "config", header: text.config, width: "8.5rem", from: 760,
      cell: (row) => (pending(row).length > 0 ? <Badge tone="undo" icon="clock">{text.pending(pending(row).length)}</Badge> : <span className="num">{version(row) === undefined ? "–" : text.version(version(row) ?? 0)}</span>),
    },
    { id: "release", header: text.release, width: "5rem", from: 900, cell: (row) => about(row).release ?? "" },
    { id: "since", header: text.since, width: "5rem", align: "end", from: 480, cell: (row) => <Time at={row.since} /> },
    { id: "seen", header: text.seen, width: "6.5rem", align: "end", cell: (row) => <Seen at={row.seen_at} /> },
  ];
  const chosen = list.data?.processes.find((each) => each.instance === open);
  return (
    <Page title={text.title}>
      <Split detail={chosen && (
        <Detail title={kind(chosen)} onClose={() => setOpen("")}>
          <Facts items={[
            [text.instance, <span key="instance" className="mono">{chosen.instance}</span>],
            [text.address, <span key="address" className="mono">{chosen.address}</span>],
            [text.since, <Time key="since" at={chosen.since} mode="local" />],
            [text.release, about(chosen).release],
            [text.config, version(chosen) !== undefined && text.version(version(chosen) ?? 0)],
            [s.config.pending, pending(chosen).length > 0 && (
              <ul key="pending">{pending(chosen).map((each) => <li key={each.setting}><PageLink page="/config" to={`/config?setting=${encodeURIComponent(each.setting)}`} className="mono">{each.setting}</PageLink> <span className="muted"><Time at={each.since} /></span></li>)}</ul>
            )],
          ]} />
          <h3>{text.about}</h3>
          <JsonView label={text.about} value={chosen.about} />
        </Detail>
      )}>
        <section className="panel" aria-label={text.title}>
          <Loaded query={list}>
            {({ processes }) => (
              <Table label={text.title} auto columns={columns} rows={processes} rowKey={(row) => row.instance} onOpen={(row) => setOpen(row.instance)}
                empty={<Empty title={text.emptyTitle} hint={text.emptyHint} />} />
            )}
          </Loaded>
        </section>
      </Split>
    </Page>
  );
}
