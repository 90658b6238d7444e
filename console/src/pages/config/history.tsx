import { useQuery } from "@tanstack/react-query";
import { usePermissions } from "../../api/access";
import { api, data } from "../../api/client";
import { keys } from "../../api/keys";
import { usePaged } from "../../api/paged";
import type { components } from "../../api/schema";
import { s } from "../../strings";
import { Badge, Button, confirmAction, Empty, JsonDiff, JsonView, Loaded, Table, Time, useParam, type Column } from "../../ui";
import { Detail, ListState } from "../system/parts";
import type { Config } from "./query";

const text = s.config;
type Version = components["schemas"]["ConfigVersionView"];

/** The versions of the settings, with comparison and rollback. */
export function History({ config }: { config: Config }) {
  const [open, setOpen] = useParam("version");
  const { query, rows, more } = usePaged([...keys.config(), "history", config.version], async (token, signal) => {
    const page = await data(api.GET("/api/v1/config/history", { params: { query: { page_size: 100, page_token: token } }, signal }));
    return { rows: page.versions, next: page.next_page_token };
  });
  const columns: readonly Column<Version>[] = [
    { id: "version", header: text.historyVersion, width: "5rem", align: "end", cell: (row) => <span className="num">{row.version}</span> },
    { id: "current", header: "", width: "6rem", from: 480, cell: (row) => row.version === config.version && <Badge tone="good" icon="check">{text.current}</Badge> },
    { id: "reason", header: text.reason, width: "minmax(0, 2fr)", cell: (row) => <span title={row.reason ?? ""}>{row.reason}</span> },
    { id: "actor", header: text.actor, from: 560, cell: (row) => row.actor },
    { id: "time", header: text.time, width: "8rem", align: "end", from: 400, cell: (row) => <Time at={row.time} mode="local" /> },
  ];
  return (
    <div className="fill tab-body">
      {open !== "" && <VersionDetail key={open} version={Number(open)} config={config} onClose={() => setOpen("")} />}
      <section className="panel fill" aria-label={text.tabs.history}>
        <ListState query={query}>
          <Table label={text.tabs.history} columns={columns} rows={rows} rowKey={(row) => String(row.version)} onOpen={(row) => setOpen(String(row.version))} onEnd={more}
            empty={<Empty title={text.noHistoryTitle} hint={text.noHistoryHint} />} />
        </ListState>
      </section>
    </div>
  );
}

function VersionDetail({ version, config, onClose }: { version: number; config: Config; onClose: () => void }) {
  const { can } = usePermissions();
  const query = useQuery({
    queryKey: [...keys.config(), "history", "one", version],
    queryFn: ({ signal }) => data(api.GET("/api/v1/config/history/{version}", { params: { path: { version } }, signal })),
  });
  const current = version === config.version;
  const rollback = () => confirmAction({
    title: text.rollbackTitle(version), verb: text.rollback, danger: true, done: text.rolledBack(version), refresh: [keys.config()], audit: { target_kind: "configuration" },
    body: <><p>{text.rollbackBody}</p><JsonDiff before={config.settings} after={query.data?.settings ?? {}} beforeLabel={text.before} afterLabel={text.after} /></>,
    run: (reason) => data(api.POST("/api/v1/config/rollback", { params: { header: { "If-Match": `"${String(config.version)}"` } }, body: { version, reason } })),
  });
  return (
    <Detail title={current ? text.version(version) : text.compare(version)} onClose={onClose}
      actions={!current && query.data && can("config.write") && <Button icon="undo" tone="danger" onClick={rollback}>{text.rollback}</Button>}>
      <Loaded query={query} lines={3}>
        {(view) => (current ? <JsonView label={text.document} value={view.settings ?? {}} />
          : <JsonDiff before={view.settings ?? {}} after={config.settings} beforeLabel={text.version(version)} afterLabel={text.current} />)}
      </Loaded>
    </Detail>
  );
}
