import { useState } from "react";
import { api, data } from "../../api/client";
import { formatJson } from "../../api/json";
import { keys } from "../../api/keys";
import type { Schedule } from "../../api/types";
import { s } from "../../strings";
import { Select, TextArea, TextField } from "../../ui";
import { useDefinitions } from "../definitions/queries";
import { FormDialog } from "../system/parts";
import { draftOf, scheduleBody, toUtc, type ScheduleDraft } from "./draft";

const text = s.schedules;

/** Creates a schedule, or replaces one if it has not changed in the meantime. */
export function ScheduleForm({ schedule, onClose, onDone }: { schedule?: Schedule; onClose: () => void; onDone?: (name: string) => void }) {
  const [draft, setDraft] = useState(() => draftOf(schedule));
  const edit = (field: keyof ScheduleDraft) => (event: { target: { value: string } }) => setDraft({ ...draft, [field]: event.target.value });
  const definitions = useDefinitions();
  const { body, problem } = scheduleBody(draft, schedule);
  const name = draft.name.trim();
  return (
    <FormDialog wide title={schedule ? schedule.name : text.create} verb={schedule ? text.edit : text.create} onClose={onClose} problem={problem}
      done={text.saved(name)} refresh={[keys.schedules()]} onDone={() => onDone?.(name)}
      run={() => data(api.PUT("/api/v1/schedules/{name}", {
        params: { path: { name }, header: { "If-Match": `"${schedule ? String(schedule.generation) : "0"}"` } },
        body: body as never, bodySerializer: (value: unknown) => formatJson(value),
      }))}>
      <div className="form-grid">
        {!schedule && <TextField label={text.name} value={draft.name} onChange={edit("name")} />}
        <TextField label={text.definition} list="definition-names" value={draft.definition} onChange={edit("definition")} />
      </div>
      <datalist id="definition-names">{definitions.data?.definitions.map((each) => <option key={each.name} value={each.name} />)}</datalist>
      <div className="form-grid">
        <Select label={text.kind} value={draft.kind} onChange={edit("kind")} options={[["cron", text.cron], ["every", text.every]]} />
        {draft.kind === "cron"
          ? <TextField label={text.cron} hint={text.cronHint} className="mono" placeholder="30 2 * * *" value={draft.cron} onChange={edit("cron")} />
          : <TextField label={text.every} hint={text.everyHint} className="mono" placeholder="15m" value={draft.every} onChange={edit("every")} />}
        {draft.kind === "cron" && <TextField label={text.timezone} hint={text.timezoneHint} optional value={draft.timezone} onChange={edit("timezone")} />}
      </div>
      <div className="form-grid">
        <Select label={text.overlap} value={draft.overlap} onChange={edit("overlap")} options={Object.entries(text.overlaps)} />
        <TextField label={text.catchUp} hint={text.catchUpHint} value={draft.catchUp} onChange={edit("catchUp")} />
      </div>
      <TextArea label={text.input} hint={text.inputHint} rows={5} className="mono" spellCheck={false} value={draft.input} onChange={edit("input")} />
      <TextArea label={text.labels} hint={text.labelsHint} optional rows={2} className="mono" value={draft.labels} onChange={edit("labels")} />
    </FormDialog>
  );
}

export function BackfillForm({ name, onClose }: { name: string; onClose: () => void }) {
  const [from, setFrom] = useState("");
  const [until, setUntil] = useState("");
  const [start, end] = [toUtc(from), toUtc(until)];
  const valid = start !== undefined && end !== undefined && start < end;
  return (
    <FormDialog title={text.backfillTitle(name)} verb={text.backfill} onClose={onClose} problem={valid ? undefined : text.badRange} done={text.backfillDone}
      refresh={[keys.schedules()]}
      run={() => data(api.POST("/api/v1/schedules/{name}/backfill", { params: { path: { name } }, body: { from: start ?? "", until: end ?? "" } }))}>
      <p className="muted">{text.backfillHint}</p>
      <div className="form-grid">
        <TextField type="datetime-local" label={text.from} hint={text.local} value={from} onChange={(event) => setFrom(event.target.value)} />
        <TextField type="datetime-local" label={text.until} hint={text.local} value={until} onChange={(event) => setUntil(event.target.value)} />
      </div>
    </FormDialog>
  );
}
