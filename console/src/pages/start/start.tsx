import { useMutation } from "@tanstack/react-query";
import { useEffect, useMemo, useRef, useState } from "react";
import { Link, useLocation } from "wouter";
import { usePermissions } from "../../api/access";
import { api, ApiError, data } from "../../api/client";
import { formatJson, parseExact } from "../../api/json";
import type { Workflow } from "../../api/types";
import { pageExists } from "../../routes";
import { s } from "../../strings";
import { Button, cli, CodeEditor, CopyAs, CopyButton, curl, Empty, ErrorState, Loaded, Loading, Page, Panel, ProblemBox, Select, showToast, TextField, useParam } from "../../ui";
import { useDefinition, useDefinitions, useVersions } from "../definitions/queries";
import { initialValue, isObject, validate, type Json, type Problem, type Schema } from "./schema";
import { containsInvalid, SchemaField } from "./SchemaForm";

const text = s.start;

export default function Start() {
  const [name, setName] = useParam("definition");
  const [version, setVersion] = useParam("version");
  const [prefill] = useParam("input");
  const list = useDefinitions();
  const definitions = list.data?.definitions ?? [];
  const only = definitions.length === 1 ? definitions[0]?.name : undefined;
  const chosen = name || only || "";
  const versions = useVersions(chosen);
  const newest = definitions.find((each) => each.name === chosen);
  return (
    <Page title={text.title}>
      <Loaded query={list}>
        {() => (definitions.length === 0 ? <NoDefinitions /> : (
          <div className="start">
            <div className="start-choice">
              <Select label={text.definition} value={chosen} onChange={(event) => {
                setName(event.target.value);
                setVersion("");
              }}
                options={[...(chosen === "" ? [["", text.choose] as const] : []), ...definitions.map((each) => [each.name, each.title ? `${each.name} · ${each.title}` : each.name] as const)]} />
              {chosen !== "" && newest && (
                <Select label={text.version} value={version} onChange={(event) => setVersion(event.target.value)}
                  options={[["", text.newest(newest.version)], ...(versions.data ?? []).filter((each) => each.version !== newest.version).map((each) => [String(each.version), `v${each.version}`] as const)]} />
              )}
            </div>
            {chosen === "" ? <Empty title={text.chooseTitle} hint={text.chooseHint} /> : <ForDefinition key={`${chosen}@${version}`} name={chosen} version={version === "" ? undefined : Number(version)} prefill={prefill} />}
          </div>
        ))}
      </Loaded>
    </Page>
  );
}

function NoDefinitions() {
  const command = "goconductor definition apply FILE";
  return (
    <Empty title={text.noDefinitions} hint={text.noDefinitionsHint}>
      <div className="command"><code>{command}</code><CopyButton text={command} /></div>
      {pageExists("/editor") && <Link href="/editor" className="button">{text.newDefinition}</Link>}
    </Empty>
  );
}

function ForDefinition({ name, version, prefill }: { name: string; version: number | undefined; prefill: string }) {
  // The form keeps what was typed: it does not follow later versions.
  const query = useDefinition(name, version, { fixed: true });
  if (query.data) return <Form name={name} version={version} schema={(query.data.input ?? undefined) as Schema | undefined} prefill={prefill} />;
  if (query.isError) return <ErrorState error={query.error} onRetry={() => void query.refetch()} />;
  return <Loading lines={6} />;
}

type Label = readonly [string, string];

function Form({ name, version, schema, prefill }: { name: string; version: number | undefined; schema: Schema | undefined; prefill: string }) {
  const root = useMemo<Schema>(() => schema ?? {}, [schema]);
  const input = useInput(root, schema !== undefined, prefill);
  const [key, setKey] = useState("");
  const [labels, setLabels] = useState<readonly Label[]>([]);
  const [tried, setTried] = useState(false);
  const [, navigate] = useLocation();
  const { can } = usePermissions();
  const form = useRef<HTMLFormElement>(null);
  const problems = useMemo(() => (input.value === undefined ? [] : validate(root, input.value, root)), [input.value, root]);
  const body = {
    definition: name, input: input.value as Record<string, never>, ...(version !== undefined && { version }), ...(key !== "" && { idempotency_key: key }),
    ...(labels.some(([label]) => label !== "") && { labels: Object.fromEntries(labels.filter(([label]) => label !== "")) }),
  };
  const start = useMutation({
    mutationFn: async () => {
      const call = api.POST("/api/v1/workflows", { body: body as never });
      const workflow = await data(call) as Workflow;
      return { workflow, replayed: (await call).response.status === 200 };
    },
    onSuccess: ({ workflow, replayed }) => {
      showToast({ tone: replayed ? "idle" : "good", text: replayed ? text.replayed : text.started });
      navigate(`/workflows/${workflow.id}`);
    },
  });
  const invalid = input.problem !== undefined || containsInvalid(input.value) || problems.length > 0;
  const fromServer = start.error instanceof ApiError ? start.error.errors.map((each): Problem => ({ path: each.pointer.replace(/^\/input/, ""), message: each.detail })) : [];
  const submit = () => {
    setTried(true);
    if (!invalid && !start.isPending) start.mutate();
    else requestAnimationFrame(() => form.current?.querySelector<HTMLElement>("[aria-invalid=true]")?.focus());
  };
  const flags = [...(version === undefined ? [] : ["--version", String(version)]), ...(key ? ["--idempotency-key", key] : []), ...labels.filter(([label]) => label !== "").flatMap((label) => ["--label", label.join("=")])];
  return (
    <form ref={form} className="start-form" noValidate onSubmit={(event) => {
      event.preventDefault();
      submit();
    }}>
      <Panel title={text.input} actions={schema && <ModeSwitch input={input} />}>
        <div className="panel-body stack">
          {!schema && <p className="muted">{text.noSchema}</p>}
          {input.mode === "form" ? (
            <SchemaField schema={root} root={root} value={input.value} onChange={input.set} problems={tried ? [...problems, ...fromServer] : fromServer} path="" label={text.input} required depth={0} />
          ) : (
            <>
              <div className="start-editor"><CodeEditor label={text.input} language="json" value={input.text} onChange={input.setText} /></div>
              {input.problem && <p className="field"><span className="problem" role="alert">{input.problem}</span></p>}
              {!input.problem && (tried ? [...problems, ...fromServer] : fromServer).length > 0 && (
                <ul className="start-problems">{[...problems, ...fromServer].map((each, index) => <li key={index}><code>{each.path || "/"}</code> {each.message}</li>)}</ul>
              )}
            </>
          )}
        </div>
      </Panel>
      <Panel title={text.options}>
        <div className="panel-body stack">
          <div className="schema-add">
            <TextField label={text.key} optional hint={text.keyHint} className="mono" maxLength={256} value={key} onChange={(event) => setKey(event.target.value)} />
            <Button onClick={() => setKey(randomKey())}>{text.generate}</Button>
          </div>
          <Labels labels={labels} onChange={setLabels} />
        </div>
      </Panel>
      {start.isError && <ProblemBox error={start.error} />}
      <div className="start-foot">
        {can("workflows.start") && <Button type="submit" tone="primary" icon="play" disabled={start.isPending}>{text.verb}</Button>}
        <CopyAs command={cli("workflow", "start", name, "--input", JSON.stringify(input.value ?? {}), ...flags)} request={curl("POST", "/api/v1/workflows", body)} />
        {tried && invalid && <span className="problem-text" role="status">{input.problem ?? text.problemCount(Math.max(1, problems.length))}</span>}
      </div>
    </form>
  );
}

interface Input {
  mode: "form" | "json";
  /** Undefined while the text is not JSON. */
  value: Json;
  text: string;
  problem: string | undefined;
  set: (value: Json) => void;
  setText: (text: string) => void;
  setMode: (mode: "form" | "json") => void;
}

/** The input as a value, and as a text while it is edited as JSON. */
function useInput(root: Schema, hasSchema: boolean, prefill: string): Input {
  const [initial] = useState(() => parse(prefill).value ?? initialValue(root, root) ?? {});
  const [value, setValue] = useState<Json>(initial);
  const [mode, setMode] = useState<"form" | "json">(hasSchema && (prefill === "" || isObject(initial)) ? "form" : "json");
  const [typed, setTyped] = useState(() => formatJson(initial));
  const parsed = parse(typed);
  return {
    mode,
    value: mode === "form" ? value : parsed.value,
    text: typed,
    problem: mode === "json" ? parsed.problem : undefined,
    set: setValue,
    setText: setTyped,
    setMode: (next) => {
      if (next === "json") setTyped(formatJson(containsInvalid(value) ? {} : value));
      else if (parsed.problem !== undefined) {
        showToast({ tone: "bad", text: text.formNeedsJson });
        return;
      } else setValue(parsed.value);
      setMode(next);
    },
  };
}

function parse(typed: string): { value: Json; problem?: string } {
  if (typed.trim() === "") return { value: undefined, problem: text.invalidJson("empty") };
  try {
    return { value: parseExact(typed) };
  } catch (error) {
    return { value: undefined, problem: text.invalidJson(error instanceof Error ? error.message : "") };
  }
}

function ModeSwitch({ input }: { input: Input }) {
  return (
    <div className="switch" role="group" aria-label={text.inputMode}>
      {(["form", "json"] as const).map((mode) => (
        <button key={mode} type="button" aria-pressed={input.mode === mode} onClick={() => input.mode !== mode && input.setMode(mode)}>
          {mode === "form" ? text.asForm : text.asJson}
        </button>
      ))}
    </div>
  );
}

function Labels({ labels, onChange }: { labels: readonly Label[]; onChange: (labels: readonly Label[]) => void }) {
  const added = useRef(false);
  const list = useRef<HTMLDivElement>(null);
  useEffect(() => {
    if (added.current) list.current?.querySelector<HTMLElement>(".schema-item:last-of-type input")?.focus();
    added.current = false;
  }, [labels.length]);
  const set = (index: number, label: Label) => onChange(labels.map((each, at) => (at === index ? label : each)));
  return (
    <div className="schema-group" role="group" aria-label={text.labels} ref={list}>
      <div className="schema-head">
        <span><b>{text.labels}</b> <span className="muted">{s.common.optional}</span></span>
        <Button small icon="plus" onClick={() => {
          added.current = true;
          onChange([...labels, ["", ""]]);
        }}>{text.addLabel}</Button>
      </div>
      <span className="muted">{text.labelsHint}</span>
      {labels.map(([name, value], index) => (
        <div key={index} className="schema-item">
          <div className="label-pair">
            <TextField label={text.labelName} value={name} maxLength={256} onChange={(event) => set(index, [event.target.value, value])} />
            <TextField label={text.labelValue} value={value} maxLength={256} onChange={(event) => set(index, [name, event.target.value])} />
          </div>
          <Button tone="plain" small icon="cross" label={s.common.remove(name || text.labels)} onClick={() => onChange(labels.filter((_, at) => at !== index))} />
        </div>
      ))}
    </div>
  );
}

function randomKey(): string {
  return Array.from(crypto.getRandomValues(new Uint8Array(12)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
