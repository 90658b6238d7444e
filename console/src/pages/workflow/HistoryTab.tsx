import { useDeferredValue, useMemo, useState } from "react";
import { FINAL_STATUSES, type Workflow } from "../../api/types";
import { s } from "../../strings";
import { Button, Empty, ErrorState, formatDuration, Icon, JsonView, Loading, saveFile, Table, Time, useParam, type Column, type IconName, type Tone } from "../../ui";
import { filterEntries, isFailure, summaryOf, useHistory, type Entry } from "./history";

const text = s.workflow;

/** The look of an event by its type: what it means for the saga. */
function lookOf(type: string): [Tone, IconName] {
  if (/FAILED|UNKNOWN|PROBING/.test(type)) return ["bad", "alert"];
  if (/COMPENSAT|ROLL/.test(type)) return ["undo", type.endsWith("ED") && !/QUEUED|STARTED|REQUESTED/.test(type) ? "undone" : "undo"];
  if (/COMPLETED|ACQUIRED/.test(type)) return ["good", "check"];
  if (/PAUSED/.test(type)) return ["hold", "pause"];
  if (/SIGNAL/.test(type)) return ["hold", "mail"];
  if (/SKIPPED|TERMINATED|WITHDRAWN/.test(type)) return ["idle", "skip"];
  return ["forward", /STARTED|RESUMED|RETRIED/.test(type) ? "play" : "clock"];
}

const titleOf = (type: string) => type.charAt(0) + type.slice(1).toLowerCase().replaceAll("_", " ");

/** The events of the workflow, followed while they are shown. */
export function HistoryTab({ workflow }: { workflow: Workflow }) {
  const history = useHistory(workflow.id, !FINAL_STATUSES.includes(workflow.status));
  const [search, setSearch] = useParam("find");
  const [order, setOrder] = useParam("order", "oldest");
  const [failures, setFailures] = useParam("events");
  const [opened, setOpened] = useState<number>();
  const wanted = useDeferredValue(search);
  const newest = order === "newest";
  const shown = useMemo(() => filterEntries(history.entries, wanted, failures === "failures", newest), [history.entries, wanted, failures, newest]);
  const columns = useMemo(() => columnsOf(Date.parse(workflow.created_at)), [workflow.created_at]);
  const current = opened === undefined ? undefined : history.entries[opened - 1]?.event;
  if (history.entries.length === 0 && history.state === "loading") return <Loading lines={10} />;
  if (history.entries.length === 0 && history.refusal) return <ErrorState error={history.refusal} />;
  return (
    <div className="history">
      <div className="toolbar">
        <input className="input" type="search" aria-label={text.historyFilter} placeholder={text.historyFilter} value={search} onChange={(event) => setSearch(event.target.value)} />
        <div className="switch" role="group" aria-label={text.history}>
          <button type="button" aria-pressed={failures === "failures"} onClick={() => setFailures(failures === "failures" ? "" : "failures")}>{text.failuresOnly}</button>
          <button type="button" aria-pressed={newest} onClick={() => setOrder(newest ? "oldest" : "newest")}>{text.newestFirst}</button>
        </div>
        <span className="gap" />
        <Button small icon="down_line" onClick={() => download(workflow, history.entries)}>{text.export}</Button>
      </div>
      <div className="panes">
        <Table label={text.history} columns={columns} rows={shown} rowKey={(row) => String(row.event.seq)} onOpen={(row) => setOpened(row.event.seq)}
          empty={<Empty title={text.noEvents} />}
          foot={
            <>
              <span className="num" role="status">{text.events(shown.length, history.entries.length)}</span>
              {history.state === "live" && <span className="following tone-good"><Icon name="dot" />{text.following}</span>}
              {history.state === "interrupted" && <span className="following tone-undo"><Icon name="retry" />{s.shell.reconnecting}</span>}
            </>
          } />
        {current && (
          <aside className="step-panel" aria-label={text.event(current.seq)}>
            <div className="step-panel-head">
              <div><h2>{titleOf(current.type)}</h2><p className="muted">{text.event(current.seq)} · <Time at={current.time} mode="local" /></p></div>
              <Button tone="plain" small icon="cross" label={s.common.close} onClick={() => setOpened(undefined)} />
            </div>
            <div className="step-panel-body"><JsonView label={text.columns.detail} value={current} /></div>
          </aside>
        )}
      </div>
    </div>
  );
}

function columnsOf(start: number): readonly Column<Entry>[] {
  const names = text.columns;
  return [
    { id: "seq", header: names.seq, width: "3.2rem", align: "end", cell: ({ event }) => <span className="num muted">{event.seq}</span> },
    { id: "offset", header: names.offset, width: "5.2rem", align: "end", from: 420, cell: ({ event }) => <span className="num muted" title={event.time}>+{formatDuration(Date.parse(event.time) - start)}</span> },
    {
      id: "type", header: names.type, width: "minmax(9rem, 1fr)",
      cell: ({ event }) => {
        const [tone, icon] = lookOf(event.type);
        return <span className={`event tone-${tone}`} title={event.type}><Icon name={icon} />{titleOf(event.type)}</span>;
      },
    },
    { id: "step", header: names.step, width: "minmax(6rem, 0.8fr)", cell: ({ event }) => <span className="mono">{event.step}{event.attempt && event.attempt > 1 ? <span className="muted"> ×{event.attempt}</span> : null}</span> },
    { id: "detail", header: names.detail, width: "minmax(10rem, 2fr)", from: 620, cell: ({ event }) => <span className={isFailure(event) ? "bad-text" : "muted"}>{summaryOf(event)}</span> },
    { id: "actor", header: names.actor, width: "6rem", from: 1000, cell: ({ event }) => event.actor },
    { id: "time", header: names.time, width: "5rem", align: "end", from: 820, cell: ({ event }) => <Time at={event.time} mode="local" /> },
  ];
}

/** Saves the events as one JSON object on each line. */
function download(workflow: Workflow, entries: readonly Entry[]): void {
  const lines = entries.map(({ event }) => JSON.stringify(event)).join("\n");
  saveFile([`${lines}\n`], `${workflow.definition}-${workflow.id}.jsonl`, "application/jsonl");
}
