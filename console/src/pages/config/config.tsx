import { useQuery } from "@tanstack/react-query";
import { api, data } from "../../api/client";
import { keys } from "../../api/keys";
import { REFRESH } from "../../api/query";
import { s } from "../../strings";
import { Empty, Icon, Loaded, Page, PageLink, Table, Tabs, Time, useParam, type Column } from "../../ui";
import { Document } from "./document";
import { History } from "./history";
import { Settings } from "./list";
import type { Config } from "./query";
import "../system/system.css";

const text = s.config;
type ConfigProcess = Config["processes"][number];

export default function ConfigPage() {
  const [tab, setTab] = useParam("tab", "settings");
  const config = useQuery({ queryKey: keys.config(), queryFn: ({ signal }) => data(api.GET("/api/v1/config", { signal })), refetchInterval: REFRESH.normal });
  return (
    <Page title={text.title} full actions={config.data && <span className="muted num">{text.version(config.data.version)}</span>}>
      <Loaded query={config} lines={10}>
        {(view) => (
          <>
            {view.pending.length > 0 && (
              <div className="notice tone-undo" role="status"><Icon name="clock" /><strong>{text.pendingCount(view.pending.length)}</strong></div>
            )}
            <Tabs label={text.title} active={tab} onChange={setTab} tabs={[
              { id: "settings", label: text.tabs.settings, render: () => <Settings config={view} /> },
              { id: "document", label: text.tabs.document, render: () => <Document config={view} /> },
              { id: "history", label: text.tabs.history, render: () => <History config={view} /> },
              { id: "processes", label: text.tabs.processes, render: () => <Processes config={view} /> },
            ]} />
          </>
        )}
      </Loaded>
    </Page>
  );
}

function Processes({ config }: { config: Config }) {
  const pending = (process: string) => config.pending.filter((each) => each.process === process);
  const columns: readonly Column<ConfigProcess>[] = [
    { id: "kind", header: s.processes.kind, width: "8.5rem", cell: (row) => s.processes.kinds[row.kind] ?? row.kind },
    { id: "process", header: text.process, from: 560, cell: (row) => <PageLink page="/processes" to={`/processes?process=${encodeURIComponent(row.process)}`} className="mono">{row.process}</PageLink> },
    { id: "version", header: text.inEffect, width: "8rem", align: "end", cell: (row) => <span className="num">{row.version ?? text.none}</span> },
    { id: "error", header: text.problem, cell: (row) => row.error && <span title={row.error}>{row.error}</span> },
    {
      id: "pending", header: text.pending, width: "minmax(0, 1.4fr)", from: 700,
      cell: (row) => pending(row.process).map((each) => <span key={each.setting} className="chip"><span className="mono">{each.setting}</span> <Time at={each.since} /></span>),
    },
  ];
  return (
    <section className="panel" aria-label={text.tabs.processes}>
      <Table label={text.tabs.processes} auto columns={columns} rows={config.processes} rowKey={(row) => row.process}
        empty={<Empty title={s.processes.emptyTitle} hint={s.processes.emptyHint} />} />
    </section>
  );
}
