import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useState, useSyncExternalStore } from "react";
import { usePermissions } from "../../api/access";
import { api, data } from "../../api/client";
import { parseExact } from "../../api/json";
import { keys } from "../../api/keys";
import { readAll, usePaged } from "../../api/paged";
import { REFRESH } from "../../api/query";
import type { DeadLetter } from "../../api/types";
import { s } from "../../strings";
import { Button, confirmAction, Empty, JsonView, Loaded, Page, Table, Time, useParam, type Column } from "../../ui";
import { Detail, Facts, ListState, Split } from "../system/parts";
import { runAll } from "./run-all";

const text = s.deadLetters;
const PAGE_SIZE = 200;

const columns: readonly Column<DeadLetter>[] = [
  { id: "at", header: text.at, width: "5.5rem", cell: (row) => <Time at={row.at} /> },
  { id: "topic", header: text.topic, width: "minmax(0, 1.2fr)", cell: (row) => <span className="mono">{row.topic}</span> },
  { id: "reason", header: text.reason, width: "minmax(0, 2fr)", from: 420, cell: (row) => <span title={row.reason}>{row.reason}</span> },
  { id: "key", header: text.key, from: 760, cell: (row) => <span className="mono muted">{row.key}</span> },
  { id: "bytes", header: text.bytes, width: "4.5rem", align: "end", from: 620, cell: (row) => <span className="num">{row.bytes.toLocaleString("en")}</span> },
];

async function readPage(token: string, signal?: AbortSignal) {
  const page = await data(api.GET("/api/v1/dead-letters", { params: { query: { page_size: PAGE_SIZE, page_token: token } }, ...(signal && { signal }) }));
  return { rows: page.dead_letters, next: page.next_page_token };
}

const requeueOne = (id: string) => data(api.POST("/api/v1/dead-letters/{id}/requeue", { params: { path: { id } } }));
const removeOne = (id: string) => data(api.DELETE("/api/v1/dead-letters/{id}", { params: { path: { id } } }));

export default function DeadLetters() {
  const { can } = usePermissions();
  const client = useQueryClient();
  const [open, setOpen] = useParam("letter");
  const [selected, setSelected] = useState<ReadonlySet<string>>(new Set());
  const { query, rows, more } = usePaged(keys.deadLetters(), readPage, REFRESH.normal);
  const operate = can("dead_letters.operate");
  const chosen = [...selected].filter((id) => rows.some((row) => row.id === id));
  const settle = (ids: readonly string[]) => {
    setSelected(new Set());
    if (ids.includes(open)) setOpen("");
    void client.invalidateQueries({ queryKey: keys.deadLetters() });
  };
  return (
    <Page title={text.title} full actions={operate && rows.length > 0 && (
      <>
        {chosen.length > 0 && <Button icon="retry" onClick={() => confirmMany("requeue", chosen, settle)}>{text.requeue} ({chosen.length})</Button>}
        {chosen.length > 0 && <Button tone="danger" onClick={() => confirmMany("remove", chosen, settle)}>{text.remove} ({chosen.length})</Button>}
        <Button tone="primary" onClick={() => requeueAll(settle)}>{text.requeueAll}</Button>
      </>
    )}>
      <p className="muted">{text.hint} {s.system.cluster}</p>
      {open && <LetterDetail key={open} id={open} onClose={() => setOpen("")} onSettled={settle} />}
      <section className="panel fill" aria-label={text.title}>
        <ListState query={query}>
          <Table label={text.title} columns={columns} rows={rows} rowKey={(row) => row.id} onOpen={(row) => setOpen(row.id)} onEnd={more}
            {...(operate && { selected, onSelect: setSelected })}
            empty={<Empty title={text.emptyTitle} hint={text.emptyHint} />}
            foot={<span className="num" role="status">{query.isFetchingNextPage ? s.ui.loadingMore : text.count(rows.length)}{query.hasNextPage ? "+" : ""}</span>} />
        </ListState>
      </section>
    </Page>
  );
}

type Settle = (ids: readonly string[]) => void;

function confirmMany(kind: "requeue" | "remove", ids: readonly string[], settle: Settle): void {
  const remove = kind === "remove";
  const progress = createProgress(ids.length);
  confirmAction({
    title: remove ? text.removeTitle(ids.length) : text.requeueTitle(ids.length),
    body: <><p>{remove ? text.removeBody : text.requeueBody}</p><Progress store={progress} /></>,
    verb: remove ? text.remove : text.requeue, danger: remove, reason: "none",
    done: remove ? text.removed(ids.length) : text.requeued(ids.length),
    run: () => runAll(ids, remove ? removeOne : requeueOne, progress.set).finally(() => settle(ids)),
    audit: { target_kind: "dead_letter", ...(ids.length === 1 && { target_name: ids[0] ?? "" }) },
  });
}

/** Requeues the letters that exist when it begins: a letter that comes back has a new id. */
function requeueAll(settle: Settle): void {
  const progress = createProgress(0);
  confirmAction({
    title: text.allTitle, body: <><p>{text.allBody} {text.requeueBody}</p><Progress store={progress} /></>,
    verb: text.requeueAll, danger: true, reason: "none", done: (count) => text.requeued(Number(count)),
    run: async () => {
      const ids: string[] = [];
      await readAll(readPage, (rows) => void ids.push(...rows.map((row) => row.id)));
      progress.total = ids.length;
      return runAll(ids, requeueOne, progress.set).finally(() => settle(ids));
    },
    audit: { target_kind: "dead_letter" },
  });
}

function createProgress(total: number) {
  let done = 0;
  const listeners = new Set<() => void>();
  return {
    total,
    set: (value: number) => {
      done = value;
      for (const listener of listeners) listener();
    },
    subscribe: (listener: () => void) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    snapshot: () => done,
  };
}

function Progress({ store }: { store: ReturnType<typeof createProgress> }) {
  const done = useSyncExternalStore(store.subscribe, store.snapshot);
  if (done === 0) return null;
  return (
    <p role="status">
      <progress aria-label={text.progress(done, store.total)} max={store.total} value={done} />
      <span className="num">{text.progress(done, store.total)}</span>
    </p>
  );
}

function LetterDetail({ id, onClose, onSettled }: { id: string; onClose: () => void; onSettled: Settle }) {
  const { can } = usePermissions();
  const letter = useQuery({ queryKey: [...keys.deadLetters(), "one", id], queryFn: ({ signal }) => data(api.GET("/api/v1/dead-letters/{id}", { params: { path: { id } }, signal })) });
  const actions = can("dead_letters.operate") && letter.data && (
    <>
      <Button icon="retry" onClick={() => confirmMany("requeue", [id], onSettled)}>{text.requeue}</Button>
      <Button tone="danger" onClick={() => confirmMany("remove", [id], onSettled)}>{text.remove}</Button>
    </>
  );
  return (
    <Split>
      <Detail title={id} onClose={onClose} actions={actions}>
        <Loaded query={letter}>
          {(view) => (
            <>
              <Facts items={[
                [text.reason, view.reason], [text.topic, <span key="topic" className="mono">{view.topic}</span>],
                [text.key, <span key="key" className="mono">{view.key}</span>], [text.at, <Time key="at" at={view.at} mode="local" />],
                [text.bytes, view.bytes.toLocaleString("en")],
              ]} />
              <h3>{text.payload}</h3>
              <Payload text={view.payload} />
            </>
          )}
        </Loaded>
      </Detail>
    </Split>
  );
}

function Payload({ text: payload }: { text: string }) {
  let value: unknown;
  try {
    value = parseExact(payload);
  } catch {
    return <pre className="payload mono" aria-label={text.payload}>{payload}</pre>;
  }
  return <JsonView label={text.payload} value={value} />;
}
