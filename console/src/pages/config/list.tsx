import { useMutation } from "@tanstack/react-query";
import { useState } from "react";
import { usePermissions } from "../../api/access";
import { api, data } from "../../api/client";
import { keys } from "../../api/keys";
import { s } from "../../strings";
import { Badge, Button, Checkbox, confirmAction, Dialog, Empty, Loaded, ProblemBox, Table, TextField, Time, useParam, type Column } from "../../ui";
import { Detail, Facts, Narrow } from "../system/parts";
import { useConfigSchema, type Config } from "./query";
import { patchOf, read, settingsOf, show, valueAt, type Setting } from "./settings";

const text = s.config;

type Origin = "api" | "default" | "file";
const originOf = (setting: Setting, config: Config): Origin =>
  valueAt(config.settings, setting.path) !== undefined ? "api" : setting.apply === "file-only" ? "file" : "default";
/** Settings of the API first, then those that it can set. */
function inOrder(settings: readonly Setting[], config: Config): Setting[] {
  const rank: Record<Origin, number> = { api: 0, default: 1, file: 2 };
  return [...settings].sort((a, b) => rank[originOf(a, config)] - rank[originOf(b, config)]);
}
const pendingOf = (setting: Setting, config: Config) => config.pending.filter((each) => each.setting === setting.path || each.setting.startsWith(`${setting.path}.`));

/** All settings with value and origin. */
export function Settings({ config }: { config: Config }) {
  const [search, setSearch] = useParam("search");
  const [only, setOnly] = useParam("only");
  const [open, setOpen] = useParam("setting");
  const schema = useConfigSchema();
  const columns: readonly Column<Setting>[] = [
    { id: "path", header: text.setting, width: "minmax(0, 1.4fr)", cell: (row) => <span className="mono">{row.path}</span> },
    { id: "value", header: text.value, cell: (row) => <Value setting={row} config={config} /> },
    { id: "origin", header: text.origin, width: "9.5rem", from: 520, cell: (row) => <OriginText origin={originOf(row, config)} /> },
    {
      id: "apply", header: text.apply, width: "10.5rem", from: 720,
      cell: (row) => (pendingOf(row, config).length > 0 ? <Badge tone="undo" icon="clock">{text.pending}</Badge> : <span className="muted">{text.applies[row.apply] ?? row.apply}</span>),
    },
    { id: "description", header: text.description, width: "minmax(0, 1.6fr)", from: 980, cell: (row) => <span className="muted" title={row.description}>{row.description}</span> },
  ];
  return (
    <Loaded query={schema} lines={10}>
      {(document) => {
        const all = settingsOf(document);
        const needle = search.toLowerCase();
        const rows = inOrder(all, config).filter((row) => (only === "" || originOf(row, config) === "api") && (row.path.includes(needle) || row.description.toLowerCase().includes(needle)));
        const chosen = all.find((row) => row.path === open);
        return (
          <div className="fill tab-body">
            <div className="row spread">
              <Narrow value={search} onChange={setSearch} />
              <Checkbox label={text.onlySet} checked={only !== ""} onChange={() => setOnly(only === "" ? "set" : "")} />
            </div>
            {chosen && <SettingDetail setting={chosen} config={config} onClose={() => setOpen("")} />}
            <section className="panel fill" aria-label={text.tabs.settings}>
              <Table label={text.tabs.settings} columns={columns} rows={rows} rowKey={(row) => row.path} onOpen={(row) => setOpen(row.path)}
                empty={<Empty title={text.emptyTitle} hint={text.emptyHint} />} foot={<span className="num">{s.ui.rows(rows.length)}</span>} />
            </section>
          </div>
        );
      }}
    </Loaded>
  );
}

function Value({ setting, config }: { setting: Setting; config: Config }) {
  const value = valueAt(config.settings, setting.path);
  if (value !== undefined) return <strong className="mono" title={show(value)}>{show(value)}</strong>;
  return <span className="mono muted">{show(setting.defaultValue)}</span>;
}

function OriginText({ origin }: { origin: Origin }) {
  return origin === "api" ? <Badge tone="forward" icon="gear">{text.origins.api}</Badge> : <span className="muted">{text.origins[origin]}</span>;
}

function SettingDetail({ setting, config, onClose }: { setting: Setting; config: Config; onClose: () => void }) {
  const { can } = usePermissions();
  const [editing, setEditing] = useState(false);
  const origin = originOf(setting, config);
  const write = can("config.write") && setting.apply !== "file-only";
  const pending = pendingOf(setting, config);
  return (
    <Detail title={setting.path} onClose={onClose} actions={write && (
      <>
        <Button tone="primary" onClick={() => setEditing(true)}>{text.change}</Button>
        {origin === "api" && <Button tone="danger" onClick={() => reset(setting, config)}>{text.reset}</Button>}
      </>
    )}>
      <Facts items={[
        [text.description, setting.description],
        [text.value, <Value key="value" setting={setting} config={config} />],
        [text.origin, origin === "api" ? text.originHint.api(config.version) : text.originHint[origin]],
        [text.defaultValue, <span key="default" className="mono">{show(setting.defaultValue) || s.common.none}</span>],
        [text.type, setting.form],
        [text.apply, text.applies[setting.apply] ?? setting.apply],
        [text.pending, pending.length > 0 && (
          <ul key="pending">{pending.map((each) => <li key={`${each.process} ${each.setting}`}>{s.processes.kinds[each.kind] ?? each.kind} <span className="mono">{each.process}</span> <span className="muted"><Time at={each.since} /></span></li>)}</ul>
        )],
      ]} />
      {editing && <ChangeDialog setting={setting} config={config} onClose={() => setEditing(false)} />}
    </Detail>
  );
}

/** Changes by a merge patch, and only if the settings still have the version that the page shows. */
const patch = (config: Config, body: unknown, dryRun: boolean, reason: string) =>
  data(api.PATCH("/api/v1/config", {
    params: { query: { dry_run: dryRun, ...(reason !== "" && { reason }) }, header: { "If-Match": `"${String(config.version)}"` } },
    headers: { "Content-Type": "application/merge-patch+json" }, body: body as never,
  }));

export function Changes({ changes }: { changes: Config["changes"] }) {
  if (!changes || changes.length === 0) return <p>{text.checkedNothing}</p>;
  return (
    <>
      <p>{text.checked}</p>
      <ul className="changes">{changes.map((each) => <li key={each.setting}><code>{each.setting}</code> <span className="muted">{text.applies[each.apply] ?? each.apply}</span></li>)}</ul>
    </>
  );
}

function reset(setting: Setting, config: Config): void {
  confirmAction({
    title: text.resetTitle(setting.path), body: text.resetBody, verb: text.reset, danger: true, done: text.saved,
    run: (reason) => patch(config, patchOf(setting.path, null), false, reason), refresh: [keys.config()], audit: { target_kind: "configuration" },
  });
}

/** Asks for a value, checks it by a dry run, and then asks for the reason. */
function ChangeDialog({ setting, config, onClose }: { setting: Setting; config: Config; onClose: () => void }) {
  const [value, setValue] = useState(show(valueAt(config.settings, setting.path) ?? setting.defaultValue));
  const check = useMutation({
    mutationFn: () => patch(config, patchOf(setting.path, read(value)), true, ""),
    onSuccess: (checked) => {
      onClose();
      confirmAction({
        title: text.changeTitle(setting.path), verb: text.reviewVerb, done: text.saved,
        body: <><p><code>{setting.path}</code> = <code>{value.trim()}</code></p><Changes changes={checked.changes} /></>,
        run: (reason) => patch(config, patchOf(setting.path, read(value)), false, reason), refresh: [keys.config()], audit: { target_kind: "configuration" },
      });
    },
  });
  return (
    <Dialog title={text.changeTitle(setting.path)} onClose={onClose} onSubmit={() => check.mutate()}
      foot={<><Button onClick={onClose}>{s.common.cancel}</Button><Button type="submit" tone="primary" disabled={check.isPending}>{text.check}</Button></>}>
      <p className="muted">{setting.description}</p>
      <TextField label={text.newValue} hint={`${setting.form}. ${text.newValueHint}`} className="mono" value={value} onChange={(event) => setValue(event.target.value)} />
      {check.isError && <ProblemBox error={check.error} />}
    </Dialog>
  );
}
