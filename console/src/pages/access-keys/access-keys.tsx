import { useState } from "react";
import { usePermissions, useSession } from "../../api/access";
import { api, data } from "../../api/client";
import { keys } from "../../api/keys";
import { usePaged } from "../../api/paged";
import type { components } from "../../api/schema";
import { currentNamespace } from "../../api/session";
import { s } from "../../strings";
import { Badge, Button, Checkbox, confirmAction, CopyButton, Dialog, Empty, Icon, Page, Table, TextField, Time, useNow, type Column } from "../../ui";
import { FormDialog, ListState } from "../system/parts";
import { keyState, list, ROLES, type AccessKey, type KeyState } from "./access-key";

const text = s.accessKeys;
type Created = components["schemas"]["AccessKeyCreated"];
const LOOK = { active: ["good", "check"], expired: ["idle", "clock"], revoked: ["bad", "cross"] } as const;

function State({ state }: { state: KeyState }) {
  const [tone, icon] = LOOK[state];
  return <Badge tone={tone} icon={icon}>{text.states[state]}</Badge>;
}

function columnsOf(now: number): readonly Column<AccessKey>[] {
  return [
    { id: "name", header: text.name, width: "minmax(0, 1.4fr)", cell: (row) => <span title={row.name}><strong>{row.name}</strong></span> },
    { id: "state", header: text.state, width: "6rem", cell: (row) => <State state={keyState(row, now)} /> },
    { id: "id", header: text.id, from: 820, cell: (row) => <span className="mono muted">{row.id}</span> },
    { id: "roles", header: text.roles, from: 480, cell: (row) => row.roles.join(", ") },
    { id: "namespaces", header: text.namespaces, from: 640, cell: (row) => row.namespaces.join(", ") },
    { id: "created", header: text.created, width: "5rem", align: "end", from: 960, cell: (row) => <span title={row.created_by}><Time at={row.created_at} /></span> },
    { id: "expires", header: text.expires, width: "6rem", align: "end", from: 720, cell: (row) => (row.expires_at ? <Time at={row.expires_at} /> : <span className="muted">{text.never}</span>) },
  ];
}

export default function AccessKeys() {
  const { can } = usePermissions();
  const session = useSession().data;
  const now = useNow(60_000);
  const [open, setOpen] = useState<"create" | AccessKey>();
  const [created, setCreated] = useState<Created>();
  const checked = session?.access_control !== false;
  // The creator of a key must be known.
  const write = can("access.write") && checked;
  const { query, rows, more } = usePaged(keys.accessKeys(), async (token, signal) => {
    const page = await data(api.GET("/api/v1/access/keys", { params: { query: { page_size: 200, page_token: token } }, signal }));
    return { rows: page.keys, next: page.next_page_token };
  });
  const actions: Column<AccessKey> = {
    id: "actions", header: "", width: "9.5rem", align: "end",
    cell: (row) => keyState(row, now) === "active" && (
      <span className="cell-actions">
        <Button small onClick={() => setOpen(row)}>{text.rotate}</Button>
        <Button small tone="danger" onClick={() => revoke(row)}>{text.revoke}</Button>
      </span>
    ),
  };
  const columns = columnsOf(now);
  return (
    <Page title={text.title} full actions={write && <Button tone="primary" icon="plus" onClick={() => setOpen("create")}>{text.create}</Button>}>
      {!checked && <div className="notice tone-undo"><Icon name="alert" />{text.off}</div>}
      <section className="panel fill" aria-label={text.title}>
        <ListState query={query}>
          <Table label={text.title} columns={write ? [...columns, actions] : columns} rows={rows} rowKey={(row) => row.id} onEnd={more}
            empty={<Empty title={text.emptyTitle} hint={text.emptyHint} />} foot={<span className="num">{s.ui.rows(rows.length)}</span>} />
        </ListState>
      </section>
      {open === "create" && <CreateKey onClose={() => setOpen(undefined)} onCreated={setCreated} />}
      {open !== undefined && open !== "create" && <RotateKey of={open} onClose={() => setOpen(undefined)} onCreated={setCreated} />}
      {created && <Token created={created} onClose={() => setCreated(undefined)} />}
    </Page>
  );
}

function revoke(key: AccessKey): void {
  confirmAction({
    title: text.revokeTitle(key.name), body: text.revokeBody, verb: text.revoke, danger: true, reason: "none", done: text.revoked(key.name),
    run: () => data(api.DELETE("/api/v1/access/keys/{id}", { params: { path: { id: key.id } } })),
    refresh: [keys.accessKeys()], audit: { target_kind: "access_key", target_name: key.id },
  });
}

function CreateKey({ onClose, onCreated }: { onClose: () => void; onCreated: (created: Created) => void }) {
  const [draft, setDraft] = useState({ name: "", others: "", namespaces: currentNamespace(), services: "", expiresIn: "" });
  const [roles, setRoles] = useState<ReadonlySet<string>>(new Set(["viewer"]));
  const edit = (field: keyof typeof draft) => (event: { target: { value: string } }) => setDraft({ ...draft, [field]: event.target.value });
  const chosen = [...roles, ...list(draft.others)];
  const problem = draft.name.trim() === "" ? text.badName : chosen.length === 0 ? text.badRoles : undefined;
  return (
    <FormDialog title={text.create} verb={text.create} onClose={onClose} problem={problem} refresh={[keys.accessKeys()]} onDone={onCreated}
      run={() => data(api.POST("/api/v1/access/keys", { body: {
        name: draft.name.trim(), roles: chosen, namespaces: list(draft.namespaces),
        ...(list(draft.services).length > 0 && { services: list(draft.services) }),
        ...(draft.expiresIn.trim() !== "" && { expires_in: draft.expiresIn.trim() }),
      } }))}>
      <TextField label={text.name} hint={text.nameHint} value={draft.name} onChange={edit("name")} />
      <fieldset className="choices">
        <legend>{text.roles}</legend>
        <div className="row">
          {ROLES.map((role) => (
            <Checkbox key={role} label={role} checked={roles.has(role)}
              onChange={() => setRoles(new Set(roles.has(role) ? [...roles].filter((each) => each !== role) : [...roles, role]))} />
          ))}
        </div>
      </fieldset>
      <TextField label={text.rolesOther} hint={text.rolesOtherHint} optional value={draft.others} onChange={edit("others")} />
      <div className="form-grid">
        <TextField label={text.namespaces} hint={text.namespacesHint} value={draft.namespaces} onChange={edit("namespaces")} />
        <TextField label={text.expiresIn} hint={text.expiresInHint} optional value={draft.expiresIn} onChange={edit("expiresIn")} />
      </div>
      {roles.has("worker") && <TextField label={text.services} hint={text.servicesHint} optional value={draft.services} onChange={edit("services")} />}
    </FormDialog>
  );
}

function RotateKey({ of: rotated, onClose, onCreated }: { of: AccessKey; onClose: () => void; onCreated: (created: Created) => void }) {
  const [overlap, setOverlap] = useState("");
  const body = overlap.trim() === "" ? {} : { overlap: overlap.trim() };
  return (
    <FormDialog title={text.rotateTitle(rotated.name)} verb={text.rotate} onClose={onClose} refresh={[keys.accessKeys()]} onDone={onCreated}
      run={() => data(api.POST("/api/v1/access/keys/{id}/rotate", { params: { path: { id: rotated.id } }, body }))}>
      <p className="muted">{text.rotateHint}</p>
      <TextField label={text.overlap} hint={text.overlapHint} optional value={overlap} onChange={(event) => setOverlap(event.target.value)} />
    </FormDialog>
  );
}

/** The token of a new key. It is only in the memory of this dialog. */
function Token({ created, onClose }: { created: Created; onClose: () => void }) {
  return (
    <Dialog title={`${text.createdTitle} ${created.key.name}`} onClose={onClose} foot={<Button tone="primary" onClick={onClose}>{text.copied}</Button>}>
      <p>{text.createdHint}</p>
      <div className="once"><code>{created.token}</code><CopyButton text={created.token} /></div>
    </Dialog>
  );
}
