// The changes that an operator can make to a workflow and its steps.
import { useQuery } from "@tanstack/react-query";
import { lazy, Suspense, useState } from "react";
import { ApiError, postJson } from "../../api/client";
import { parseExact } from "../../api/json";
import { keys } from "../../api/keys";
import type { Workflow, WorkflowStep } from "../../api/types";
import { s } from "../../strings";
import { Checkbox, cli, CodeEditor, confirmAction, CopyButton, curl, Field, Loading, ProblemBox, Select, type IconName } from "../../ui";
import { useVersions } from "../definitions/queries";
import { isUndo, signalOf, type StepVerb, type WorkflowVerb } from "./explain";

const Payload = lazy(() => import("./Payload"));

const text = s.workflow;
const base = (id: string) => `/api/v1/workflows/${id}`;
const about = (id: string) => ({ refresh: [keys.workflow(id)], audit: { target_kind: "workflow", target_name: id } });

export const verbIcons: Record<WorkflowVerb | StepVerb, IconName> = {
  cancel: "undo", pause: "pause", resume: "play", compensate: "undo", terminate: "stop", rerun: "retry", migrate: "right", retry: "retry", skip: "skip", complete: "check",
};

/** The command with the same effect, for scripts. */
function Command({ command, request }: { command: string; request: string }) {
  return (
    <details className="same-command">
      <summary>{text.command}</summary>
      {[command, request].map((each) => <div key={each} className="command-line"><code>{each}</code><CopyButton text={each} /></div>)}
    </details>
  );
}

function body(hint: string, command: string, request: string) {
  return <div className="stack"><p>{hint}</p><Command command={command} request={request} /></div>;
}

const withReason = (reason: string, more: Record<string, unknown> = {}) => ({ ...more, ...(reason && { reason }) });

/** Asks for confirmation of a verb of the workflow, and carries it out. */
export function operate(workflow: Workflow, verb: WorkflowVerb): void {
  if (verb === "migrate") return migrate(workflow);
  if (verb === "rerun") return rerun(workflow);
  const path = `${base(workflow.id)}/${verb}`;
  const gentle = verb === "pause" || verb === "resume";
  const hint = text.bodies[verb];
  confirmAction({
    title: text.titles[verb], verb: verb === "cancel" ? text.cancelVerb : text[verb], danger: !gentle, reason: gentle ? "optional" : "required", done: text.done[verb],
    body: body(hint, cli("workflow", verb, workflow.id, "--reason", "…"), curl("POST", path, { reason: "…" })),
    run: (reason) => postJson(path, withReason(reason)), ...about(workflow.id),
  });
}

/** Asks for confirmation of a verb of a step, and carries it out. During a rollback it applies to the compensation. */
export function operateStep(workflow: Workflow, step: WorkflowStep, verb: StepVerb): void {
  const undo = isUndo(step);
  const named = (undo ? `${verb}Undo` : verb) as "retry" | "skip" | "complete" | "retryUndo" | "skipUndo" | "completeUndo";
  const path = `${base(workflow.id)}/steps/${step.name}/${verb}`;
  const output = { text: "null" };
  const asks = verb === "complete" && !undo;
  const hint = named === "skip" && step.kind === "pivot" ? text.bodies.skipPivot : text.bodies[named];
  confirmAction({
    title: text.titles[named](step.title || step.name), verb: text[named], danger: verb === "skip", reason: verb === "retry" ? "optional" : "required", done: text.done[verb],
    body: (
      <div className="stack">
        {asks ? <><p>{hint}</p><JsonInput label={text.output} initial="null" onChange={(value) => (output.text = value)} /></> : <p>{hint}</p>}
        <Command command={cli("workflow", verb, workflow.id, step.name, ...(asks ? ["--result", "…"] : []), "--reason", "…")} request={curl("POST", path, { reason: "…", ...(asks && { output: "…" }) })} />
      </div>
    ),
    run: (reason) => postJson(path, withReason(reason, asks ? { output: parsed(output.text) } : {})), ...about(workflow.id),
  });
}

/** Asks for confirmation of a re-run, of all steps or from one. */
export function rerun(workflow: Workflow, step?: WorkflowStep): void {
  const path = `${base(workflow.id)}/rerun`;
  const keep = { effects: false };
  const request = step ? { step: step.name } : {};
  confirmAction({
    title: step ? text.titles.rerunFrom(step.title || step.name) : text.titles.rerun, verb: text.rerun, done: text.done.rerun,
    body: (
      <div className="stack">
        <p>{step ? text.bodies.rerunFrom : text.bodies.rerun}</p>
        <Keep onChange={(value) => (keep.effects = value)} />
        <Command command={cli("workflow", "rerun", workflow.id, ...(step ? ["--from", step.name] : []), "--reason", "…")} request={curl("POST", path, { ...request, reason: "…" })} />
      </div>
    ),
    run: (reason) => postJson(path, withReason(reason, { ...request, ...(keep.effects && { effects: "keep" }) })), ...about(workflow.id),
  });
}

function Keep({ onChange }: { onChange: (value: boolean) => void }) {
  const [checked, setChecked] = useState(false);
  return <Checkbox label={text.keepEffects} checked={checked} onChange={(event) => {
    setChecked(event.target.checked);
    onChange(event.target.checked);
  }} />;
}

/** Answers a step that waits for a signal. The form follows the schema of the payload, if the definition has one. */
export function sendSignal(workflow: Workflow, step: WorkflowStep): void {
  const name = signalOf(step.action);
  if (name === undefined) return;
  const path = `${base(workflow.id)}/signals/${encodeURIComponent(name)}`;
  const payload = { text: "" };
  confirmAction({
    title: text.titles.signal(name), verb: text.signal, reason: "none", done: text.done.signal,
    body: (
      <div className="stack">
        <Suspense fallback={<Loading lines={2} />}><Payload workflow={workflow} step={step.name} onChange={(value) => (payload.text = value)} /></Suspense>
        <Command command={cli("workflow", "signal", workflow.id, name, "--data", "…")} request={curl("POST", path, "…")} />
      </div>
    ),
    run: () => postJson(path, parsed(payload.text)), ...about(workflow.id),
  });
}

function JsonInput({ label, initial, onChange }: { label: string; initial: string; onChange: (value: string) => void }) {
  const [value, setValue] = useState(initial);
  return (
    <Field label={label}>
      {() => <CodeEditor language="json" label={label} value={value} onChange={(next) => {
        setValue(next);
        onChange(next);
      }} />}
    </Field>
  );
}

function parsed(value: string): unknown {
  if (value.trim() === "") return null;
  try {
    return parseExact(value);
  } catch (error) {
    throw new ApiError({ status: 0, title: text.notJson, detail: error instanceof Error ? error.message : "" });
  }
}

function migrate(workflow: Workflow): void {
  const path = `${base(workflow.id)}/migrate`;
  const chosen: { version?: number } = {};
  confirmAction({
    title: text.titles.migrate, verb: text.migrate, reason: "optional", done: text.done.migrate,
    body: (
      <div className="stack">
        <Versions workflow={workflow} onChange={(version) => (chosen.version = version)} />
        <Command command={cli("workflow", "migrate", workflow.id, "--to-version", "N", "--reason", "…")} request={curl("POST", path, { to_version: "N", reason: "…" })} />
      </div>
    ),
    run: (reason) => {
      if (chosen.version === undefined) throw new ApiError({ status: 0, title: text.migrateNone });
      return postJson(path, withReason(reason, { to_version: chosen.version }));
    },
    ...about(workflow.id),
  });
}

interface Migration {
  added: string[];
  removed: string[];
  changed: string[];
}

function Versions({ workflow, onChange }: { workflow: Workflow; onChange: (version: number) => void }) {
  const versions = useVersions(workflow.definition);
  const others = (versions.data ?? []).map((each) => each.version).filter((version) => version !== workflow.version);
  const [picked, setPicked] = useState<number>();
  const version = picked ?? others[0];
  const check = useQuery({
    queryKey: [...keys.workflow(workflow.id), "migration", version],
    queryFn: async () => {
      if (version !== undefined) onChange(version);
      return await postJson<Migration>(`${base(workflow.id)}/migrate`, { to_version: version, dry_run: true });
    },
    enabled: version !== undefined, retry: false, staleTime: 0,
  });
  if (versions.isPending) return <Loading lines={2} />;
  if (versions.isError) return <ProblemBox error={versions.error} />;
  if (version === undefined) return <p>{text.migrateNone}</p>;
  return (
    <>
      <Select label={text.migrateVersion} value={String(version)} options={others.map((each) => [String(each), text.version(each)] as const)}
        onChange={(event) => setPicked(Number(event.target.value))} />
      {check.isPending && <p className="muted" role="status">{text.dryRun}</p>}
      {check.isError && <ProblemBox error={check.error} />}
      {check.data && <Changes migration={check.data} />}
    </>
  );
}

function Changes({ migration }: { migration: Migration }) {
  const kinds = (["added", "removed", "changed"] as const).filter((kind) => migration[kind].length > 0);
  return (
    <div role="status">
      <strong>{text.migrateChecked}</strong>
      {kinds.length === 0 && <p className="muted">{text.noDifference}</p>}
      {kinds.map((kind) => <p key={kind}>{text[kind]}: <span className="mono">{migration[kind].join(", ")}</span></p>)}
    </div>
  );
}

