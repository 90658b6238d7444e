import { usePermissions } from "../../api/access";
import { api, data } from "../../api/client";
import { keys } from "../../api/keys";
import { usePaged } from "../../api/paged";
import { REFRESH } from "../../api/query";
import type { Lock } from "../../api/types";
import { s } from "../../strings";
import { Button, confirmAction, Empty, Page, Table, Time, type Column } from "../../ui";
import { ListState } from "../system/parts";

const text = s.locks;

const columns: readonly Column<Lock>[] = [
  { id: "key", header: text.key, width: "minmax(0, 1.4fr)", cell: (row) => <span className="mono">{row.key}</span> },
  { id: "owner", header: text.owner, width: "minmax(0, 1.2fr)", cell: (row) => <span title={row.owner}>{row.owner}</span> },
  { id: "token", header: text.token, width: "7rem", align: "end", from: 620, cell: (row) => <span className="num">{String(row.fencing_token)}</span> },
  { id: "acquired", header: text.acquired, width: "5.5rem", align: "end", from: 760, cell: (row) => <Time at={row.acquired_at} /> },
  { id: "expires", header: text.expires, width: "5.5rem", align: "end", from: 420, cell: (row) => <Time at={row.expires_at} /> },
];
const action: Column<Lock> = {
  id: "action", header: "", width: "5rem", align: "end",
  cell: (row) => <Button small tone="danger" onClick={() => release(row)}>{text.release}</Button>,
};

function release(lock: Lock): void {
  confirmAction({
    title: text.releaseTitle(lock.key), body: text.releaseBody(lock.owner), verb: text.release, danger: true, reason: "none", done: text.released(lock.key),
    run: () => data(api.POST("/api/v1/locks/{key}/release", { params: { path: { key: lock.key } }, body: { owner: lock.owner, fencing_token: lock.fencing_token } })),
    refresh: [keys.locks()], audit: { target_kind: "lock", target_name: lock.key },
  });
}

export default function Locks() {
  const { can } = usePermissions();
  const { query, rows, more } = usePaged(keys.locks(), async (token, signal) => {
    const page = await data(api.GET("/api/v1/locks", { params: { query: { page_size: 200, page_token: token } }, signal }));
    return { rows: page.locks, next: page.next_page_token };
  }, REFRESH.normal);
  return (
    <Page title={text.title} full>
      <section className="panel fill" aria-label={text.title}>
        <ListState query={query}>
          <Table label={text.title} columns={can("locks.write") ? [...columns, action] : columns} rows={rows} rowKey={(row) => `${row.key} ${String(row.fencing_token)}`}
            onEnd={more} empty={<Empty title={text.emptyTitle} hint={text.emptyHint} />} foot={<span className="num">{s.ui.rows(rows.length)}</span>} />
        </ListState>
      </section>
    </Page>
  );
}
