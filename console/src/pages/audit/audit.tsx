import { useMemo, useState } from "react";
import { useSearchParams } from "wouter";
import { parseExact } from "../../api/json";
import { keys } from "../../api/keys";
import { readAll, usePaged } from "../../api/paged";
import { toApiError } from "../../api/problem";
import type { AuditRecord } from "../../api/types";
import { s } from "../../strings";
import { Badge, Button, Empty, JsonDiff, JsonView, Menu, Page, saveFile, Select, showToast, Table, TextField, Time, useParam, type Column, type Tone } from "../../ui";
import { Detail, Facts, ListState } from "../system/parts";
import { readRecords, type Filter } from "./records";
import { changeOf } from "./change";
import { header, line, type Format } from "./export";
import { VerifyDialog } from "./verify";

const text = s.audit;
const TEXT_FIELDS = [["actor", text.actor], ["action", text.action], ["target_kind", text.targetKind], ["target_name", text.targetName]] as const;
const MORE_FIELDS = [["namespace", text.namespace], ["credential", text.credential], ["source", text.source]] as const;
const OUTCOMES: Record<string, { tone: Tone; icon: "check" | "cross" | "alert" }> = {
  ALLOWED: { tone: "good", icon: "check" }, REFUSED: { tone: "bad", icon: "cross" }, FAILED: { tone: "undo", icon: "alert" },
};
function Outcome({ record }: { record: AuditRecord }) {
  const look = OUTCOMES[record.outcome];
  return <Badge tone={look?.tone ?? "idle"} icon={look?.icon ?? "alert"}>{text.outcomes[record.outcome] ?? record.outcome}</Badge>;
}

const columns: readonly Column<AuditRecord>[] = [
  { id: "time", header: text.time, width: "8.5rem", cell: (row) => <Time at={row.time} mode="local" /> },
  { id: "outcome", header: text.outcome, width: "6rem", from: 420, cell: (row) => <Outcome record={row} /> },
  { id: "actor", header: text.actor, from: 560, cell: (row) => <span title={row.actor}>{row.actor}</span> },
  { id: "action", header: text.action, width: "minmax(0, 1.2fr)", cell: (row) => <span className="mono">{row.action}</span> },
  { id: "target", header: text.target, width: "minmax(0, 1.6fr)", from: 640, cell: (row) => <><span className="muted">{row.target_kind}</span> {row.target_name}</> },
  { id: "namespace", header: text.namespace, width: "6rem", from: 960, cell: (row) => row.namespace },
  { id: "code", header: text.code, width: "5rem", from: 860, cell: (row) => row.code && <a href={`/errors/${row.code}`} target="_blank" rel="noreferrer">{row.code}</a> },
  { id: "count", header: text.count, width: "5rem", align: "end", from: 760, cell: (row) => <span className="num">{row.count}</span> },
];

function useFilter(): [Filter, (filter: Filter) => void] {
  const [params, setParams] = useSearchParams();
  const filter = useMemo(() => {
    const names = [...TEXT_FIELDS, ...MORE_FIELDS].map(([name]) => name as string).concat("outcome", "since", "until");
    return Object.fromEntries(names.flatMap((name) => (params.get(name) ? [[name, params.get(name) ?? ""]] : [])));
  }, [params]);
  return [filter, (next) => setParams(next, { replace: true })];
}

export default function Audit() {
  const [filter, setFilter] = useFilter();
  const [open, setOpen] = useParam("record");
  const [verifying, setVerifying] = useState(false);
  const { query, rows, more } = usePaged([...keys.audit(), filter], (token, signal) => readRecords(filter, "newest", token, signal));
  const chosen = rows.find((row) => row.id === open);
  return (
    <Page title={text.title} full actions={
      <>
        <Menu trigger={{ text: text.export, icon: "down" }} label={text.export} items={[
          { text: text.exportJson, onSelect: () => void exportAll(filter, "jsonl") }, { text: text.exportCsv, onSelect: () => void exportAll(filter, "csv") },
        ]} />
        <Button icon="check" onClick={() => setVerifying(true)}>{text.verify}</Button>
      </>
    }>
      <FilterForm key={JSON.stringify(filter)} filter={filter} onChange={setFilter} />
      {chosen && <RecordDetail record={chosen} onClose={() => setOpen("")} />}
      <section className="panel fill" aria-label={text.title}>
        <ListState query={query} lines={12}>
          <Table label={text.title} columns={columns} rows={rows} rowKey={(row) => row.id} onOpen={(row) => setOpen(row.id)} onEnd={more}
            empty={<Empty title={text.emptyTitle} hint={text.emptyHint} />}
            foot={<span className="num" role="status">{query.isFetchingNextPage ? s.ui.loadingMore : text.records(rows.length)}{query.hasNextPage ? "+" : ""}</span>} />
        </ListState>
      </section>
      {verifying && <VerifyDialog onClose={() => setVerifying(false)} />}
    </Page>
  );
}

const toLocal = (utc: string | undefined) => {
  if (!utc) return "";
  const time = new Date(utc);
  return Number.isNaN(time.getTime()) ? "" : new Date(time.getTime() - time.getTimezoneOffset() * 60_000).toISOString().slice(0, 19);
};

function FilterForm({ filter, onChange }: { filter: Filter; onChange: (filter: Filter) => void }) {
  const [draft, setDraft] = useState<Record<string, string>>({ ...filter });
  const [more, setMore] = useState(() => MORE_FIELDS.some(([name]) => filter[name]));
  const set = (name: string, value: string) => setDraft({ ...draft, [name]: value });
  const time = (name: string, label: string) => (
    <TextField type="datetime-local" step={1} label={label} value={toLocal(draft[name])}
      onChange={(event) => set(name, event.target.value === "" ? "" : new Date(event.target.value).toISOString())} />
  );
  return (
    <form
      className="filter-form"
      aria-label={s.ui.filter}
      onSubmit={(event) => {
        event.preventDefault();
        onChange(Object.fromEntries(Object.entries(draft).map(([name, value]) => [name, value.trim()]).filter(([, value]) => value !== "")));
      }}
    >
      {[...TEXT_FIELDS, ...(more ? MORE_FIELDS : [])].map(([name, label]) => (
        <TextField key={name} label={label} value={draft[name] ?? ""} placeholder={name === "action" ? text.actionHint : undefined} onChange={(event) => set(name, event.target.value)} />
      ))}
      <Select label={text.outcome} value={draft["outcome"] ?? ""} options={[["", text.any], ...Object.entries(text.outcomes)]} onChange={(event) => set("outcome", event.target.value)} />
      {time("since", text.since)}
      {time("until", text.until)}
      <div className="buttons">
        <Button type="submit" tone="primary">{s.common.apply}</Button>
        <Button onClick={() => onChange({})}>{text.clear}</Button>
        {!more && <Button tone="plain" onClick={() => setMore(true)}>{text.moreConditions}</Button>}
      </div>
    </form>
  );
}

/** The value of a JSON text, or the text itself. */
function parsed(value: string | null | undefined): unknown {
  if (value === null || value === undefined) return undefined;
  try {
    return parseExact(value);
  } catch {
    return value;
  }
}

function RecordDetail({ record, onClose }: { record: AuditRecord; onClose: () => void }) {
  const mono = (value: string | null | undefined) => value && <span className="mono">{value}</span>;
  const { before, after, reason, dryRun } = changeOf(parsed(record.before), parsed(record.after));
  return (
    <Detail title={`${record.action} ${record.target_name ?? ""}`} onClose={onClose}>
      <div className="columns">
        <Facts items={[
          [text.time, <Time key="time" at={record.time} mode="local" />], [text.outcome, <Outcome key="outcome" record={record} />],
          [text.actor, record.actor], [text.credential, mono(record.credential)], [text.source, mono(record.source)],
          [text.namespace, record.namespace], [text.target, [record.target_kind, record.target_name].filter(Boolean).join(" ")], [text.code, record.code],
          [text.reason, reason], [text.dryRun, dryRun && text.yes],
        ]} />
        <Facts items={[
          [text.seq, String(record.seq)], [text.count, record.count], [text.trace, mono(record.trace_id)],
          [text.hash, mono(record.hash)], [text.previous, mono(record.prev_hash)],
        ]} />
      </div>
      {before !== undefined && after !== undefined && <JsonDiff before={before} after={after} beforeLabel={text.before} afterLabel={text.after} />}
      {before === undefined && after !== undefined && <><h3>{text.parameters}</h3><JsonView label={text.parameters} value={after} /></>}
      {before !== undefined && after === undefined && <JsonView label={text.before} value={before} />}
    </Detail>
  );
}

async function exportAll(filter: Filter, format: Format): Promise<void> {
  try {
    const parts = [header(format)];
    let total = 0;
    await readAll((token) => readRecords(filter, "oldest", token), (rows, count) => {
      total = count;
      parts.push(rows.map((row) => line(row, format)).join(""));
    });
    saveFile(parts, `goconductor-audit-${new Date().toISOString().slice(0, 10)}.${format}`, format === "csv" ? "text/csv" : "application/x-ndjson");
    showToast({ tone: "good", text: text.exported(total) });
  } catch (error) {
    const problem = toApiError(error);
    showToast({ tone: "bad", text: `${problem.title} ${problem.detail}` });
  }
}
