import { useState } from "react";
import { usePermissions } from "../../api/access";
import { api, data } from "../../api/client";
import { keys } from "../../api/keys";
import { usePaged } from "../../api/paged";
import type { components } from "../../api/schema";
import type { Secret } from "../../api/types";
import { s } from "../../strings";
import { Button, confirmAction, Empty, Menu, Page, Table, TextField, Time, type Column } from "../../ui";
import { FormDialog, ListState } from "../system/parts";

const text = s.secrets;
type Rotation = components["schemas"]["RotationView"];
type PayloadKey = components["schemas"]["PayloadKeyView"];
type Editing = { name?: string } | undefined;

const base: readonly Column<Secret>[] = [
  { id: "name", header: text.name, width: "minmax(0, 2fr)", cell: (row) => <strong className="mono">{row.name}</strong> },
  { id: "version", header: text.version, width: "5rem", align: "end", cell: (row) => <span className="num">{row.version}</span> },
  { id: "updated", header: text.updated, width: "8rem", align: "end", from: 520, cell: (row) => <Time at={row.updated_at} /> },
  { id: "created", header: text.created, width: "7rem", align: "end", from: 680, cell: (row) => <Time at={row.created_at} /> },
];

export default function Secrets() {
  const { can } = usePermissions();
  const [editing, setEditing] = useState<Editing>();
  const write = can("secrets.write");
  const { query, rows, more } = usePaged(keys.secrets(), async (token, signal) => {
    const page = await data(api.GET("/api/v1/secrets", { params: { query: { page_size: 200, page_token: token } }, signal }));
    return { rows: page.secrets, next: page.next_page_token };
  });
  const columns: readonly Column<Secret>[] = write ? [...base, {
    id: "actions", header: "", width: "12rem", align: "end",
    cell: (row) => (
      <span className="cell-actions">
        <Button small onClick={() => setEditing({ name: row.name })}>{text.newVersion}</Button>
        <Button small tone="danger" onClick={() => remove(row.name)}>{text.remove}</Button>
      </span>
    ),
  }] : base;
  return (
    <Page title={text.title} full actions={write && (
      <>
        <Menu trigger={{ text: text.more, icon: "key" }} label={text.more} items={[
          { text: text.rotate, onSelect: rotateMaster }, { text: text.rotatePayload, onSelect: rotatePayload },
        ]} />
        <Button tone="primary" icon="plus" onClick={() => setEditing({})}>{text.set}</Button>
      </>
    )}>
      <p className="muted">{text.hint}</p>
      <section className="panel fill" aria-label={text.title}>
        <ListState query={query}>
          <Table label={text.title} columns={columns} rows={rows} rowKey={(row) => row.name} onEnd={more}
            empty={<Empty title={text.emptyTitle} hint={text.emptyHint} />} foot={<span className="num">{s.ui.rows(rows.length)}</span>} />
        </ListState>
      </section>
      {editing && <SecretForm {...(editing.name !== undefined && { fixed: editing.name })} onClose={() => setEditing(undefined)} />}
    </Page>
  );
}

function SecretForm({ fixed, onClose }: { fixed?: string; onClose: () => void }) {
  const [name, setName] = useState(fixed ?? "");
  const [value, setValue] = useState("");
  const problem = name.trim() === "" ? text.badName : value === "" ? text.badValue : undefined;
  return (
    <FormDialog title={fixed ? text.newVersionOf(fixed) : text.set} verb={fixed ? text.newVersion : text.set} onClose={onClose} problem={problem}
      done={text.done(name.trim())} refresh={[keys.secrets()]}
      run={() => data(api.PUT("/api/v1/secrets/{name}", { params: { path: { name: name.trim() } }, body: { value } }))}>
      {!fixed && <TextField label={text.name} value={name} onChange={(event) => setName(event.target.value)} />}
      <TextField type="password" autoComplete="new-password" label={text.value} hint={text.valueHint} value={value} onChange={(event) => setValue(event.target.value)} />
    </FormDialog>
  );
}

function remove(name: string): void {
  confirmAction({
    title: text.removeTitle(name), body: text.removeBody, verb: text.remove, danger: true, reason: "none", done: text.removed(name), typed: name,
    run: () => data(api.DELETE("/api/v1/secrets/{name}", { params: { path: { name } } })),
    refresh: [keys.secrets()], audit: { target_kind: "secret", target_name: name },
  });
}

function rotateMaster(): void {
  confirmAction({
    title: text.rotateTitle, body: `${text.rotateBody} ${s.system.cluster}`, verb: text.rotate, reason: "none", audit: { target_kind: "master_key" },
    run: () => data(api.POST("/api/v1/secrets/rotate-key")),
    done: (result) => text.rotated((result as Rotation).key_id, (result as Rotation).pending),
  });
}

function rotatePayload(): void {
  confirmAction({
    title: text.rotatePayloadTitle, body: text.rotatePayloadBody, verb: text.rotatePayload, reason: "none", audit: { target_kind: "payload_key" },
    run: () => data(api.POST("/api/v1/secrets/rotate-payload-key")),
    done: (result) => text.rotatedPayload((result as PayloadKey).version),
  });
}
