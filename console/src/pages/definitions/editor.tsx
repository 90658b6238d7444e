import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useDeferredValue, useEffect, useMemo, useState } from "react";
import { useLocation, useParams } from "wouter";
import { usePermissions } from "../../api/access";
import { api, ApiError, data } from "../../api/client";
import { keys } from "../../api/keys";
import type { ProblemLocation } from "../../api/problem";
import { s } from "../../strings";
import { Button, CodeEditor, confirmAction, Empty, ErrorState, Icon, Loading, Page, ProblemBox, Tabs, useParam, type CodeProblem } from "../../ui";
import { TextDiff } from "./Changes";
import { completions, type DefinitionSchema } from "./complete";
import { nameIn, storedDraft, storeDraft, TEMPLATE } from "./draft";
import { useDefinition } from "./queries";
import { Simulate } from "./Simulate";
import "./definitions.css";

const text = s.editor;
const CHECK_AFTER_MS = 350;
type Language = "yaml" | "json";

export default function Editor() {
  const { name = "" } = useParams<{ name: string }>();
  const applied = useDefinition(name);
  if (name !== "" && applied.isError && !applied.data) return <Page title={text.title(name)}><ErrorState error={applied.error} onRetry={() => void applied.refetch()} /></Page>;
  if (name !== "" && !applied.data) return <Page title={text.title(name)}><Loading lines={12} /></Page>;
  const source = applied.data?.source ?? "";
  return <Workbench key={name} name={name} source={source} version={applied.data?.version} language={applied.data?.source_format === "json" ? "json" : "yaml"} />;
}

interface WorkbenchProps {
  /** Empty for a new definition. */
  name: string;
  source: string;
  version: number | undefined;
  language: Language;
}

function Workbench({ name, source, version, language }: WorkbenchProps) {
  const base = name === "" ? TEMPLATE : source;
  const [draft, setDraft] = useState(() => storedDraft(name) ?? base);
  const [tab, setTab] = useParam("tab", "problems");
  const [line, setLine] = useState<{ line: number; column: number }>();
  const complete = useCompletion(language);
  const check = useCheck(draft, language);
  const target = nameIn(draft, language);
  const changed = draft !== base;
  const [, navigate] = useLocation();
  const client = useQueryClient();
  const { can, known } = usePermissions();
  const change = (next: string) => {
    setDraft(next);
    storeDraft(name, next === base ? undefined : next);
  };
  const discard = () => confirmAction({
    title: text.discardTitle, body: text.discardBody, verb: text.discard, danger: true, reason: "none", done: text.discarded,
    run: () => Promise.resolve(change(base)),
  });
  const apply = () => target && confirmAction({
    title: text.applyTitle(target),
    body: <ApplyBody name={target} sameName={target === name} version={version} source={source} draft={draft} />,
    verb: text.apply, reason: "none", done: text.applied,
    run: async () => {
      await put(target, draft, language, false);
      storeDraft(name, undefined);
      await client.invalidateQueries({ queryKey: keys.definitions() });
      navigate(`/definitions/${target}`);
    },
    audit: { target_kind: "definition", target_name: target },
  });
  const problems = useMemo(() => marks(check.problems), [check.problems]);
  const tabs = [
    { id: "problems", label: check.problems.length > 0 ? text.problems(check.problems.length) : text.tabs.problems, render: () => <Problems check={check} named={target !== undefined} onGo={setLine} /> },
    {
      id: "simulate", label: text.tabs.simulate,
      render: () => (target && check.valid ? <Simulate name={target} draft={check.text} /> : <section className="panel"><Empty title={text.tabs.simulate} hint={s.simulate.waiting} /></section>),
    },
    ...(name === "" ? [] : [{
      id: "changes", label: text.tabs.changes,
      render: () => <section className="panel panel-body stack" aria-label={text.tabs.changes}><TextDiff key={draft} before={source} after={draft} label={text.tabs.changes} /></section>,
    }]),
  ];
  return (
    <Page title={name === "" ? text.titleNew : text.title(name)} full actions={
      <>
        <State check={check} changed={changed} />
        {changed && <Button icon="undo" onClick={discard}>{text.discard}</Button>}
        {can("definitions.write") && <Button tone="primary" icon="check" disabled={!check.valid || target === undefined || (!changed && name !== "")} onClick={apply}>{text.apply}</Button>}
      </>
    }>
      {known && !can("definitions.write") && <p className="muted">{text.noPermission}</p>}
      <div className="editor">
        <section className="panel editor-text" aria-label={text.label}>
          <div className="editor-host">
            <CodeEditor label={text.label} language={language} value={draft} onChange={change} problems={problems} {...(complete && { complete })} {...(line && { goTo: line })} />
          </div>
          <div className="editor-foot"><span>{text.keys}</span>{changed && <span>{text.draftHint}</span>}</div>
        </section>
        <div className="editor-side">
          <Tabs label={text.tabsLabel} tabs={tabs} active={tab} onChange={(id) => setTab(id)} />
        </div>
      </div>
    </Page>
  );
}

function ApplyBody({ name, sameName, version, source, draft }: { name: string; sameName: boolean; version: number | undefined; source: string; draft: string }) {
  return (
    <div className="stack">
      <p>{sameName && version !== undefined ? text.applyVersion(version + 1) : text.applyNew}</p>
      {!sameName && version !== undefined && <p>{text.newFor(name)}</p>}
      {sameName && <TextDiff before={source} after={draft} label={text.tabs.changes} />}
    </div>
  );
}

function State({ check, changed }: { check: Check; changed: boolean }) {
  const [tone, icon, label] = check.pending ? (["idle", "clock", text.checking] as const)
    : check.problems.some((each) => !each.warning) ? (["bad", "alert", text.problems(check.problems.filter((each) => !each.warning).length)] as const)
      : check.error !== null ? (["bad", "alert", text.problems(1)] as const)
        : !changed ? (["idle", "check", text.unchanged] as const) : (["good", "check", text.valid] as const);
  return <span className={`editor-state tone-${tone}`} role="status"><Icon name={icon} />{label}</span>;
}

type Found = ProblemLocation & { warning: boolean };

interface Check {
  /** The text that was checked. */
  text: string;
  pending: boolean;
  valid: boolean;
  problems: readonly Found[];
  /** A failure that is not about the text. */
  error: unknown;
}

/** Sends the text to the server, which checks it as if it were applied. */
function useCheck(draft: string, language: Language): Check {
  const checked = useDebounced(draft, CHECK_AFTER_MS);
  const target = nameIn(checked, language);
  const query = useQuery({
    queryKey: [...keys.definitions(), "check", target, checked],
    queryFn: ({ signal }) => put(target ?? "", checked, language, true, signal),
    enabled: target !== undefined, retry: false, staleTime: Infinity, gcTime: 10_000,
  });
  return useMemo(() => {
    const refused = query.error instanceof ApiError && query.error.status === 422 ? query.error.errors : [];
    const problems = [
      ...refused.map((each) => ({ ...each, warning: false })),
      ...(query.data?.warnings ?? []).map((each) => ({ ...each, warning: true }) as Found),
    ];
    const error = query.error && refused.length === 0 ? query.error : null;
    return { text: checked, pending: draft !== checked || (target !== undefined && query.isPending), valid: query.isSuccess && draft === checked, problems, error };
  }, [checked, draft, target, query.data, query.error, query.isPending, query.isSuccess]);
}

function put(name: string, definition: string, language: Language, dryRun: boolean, signal?: AbortSignal) {
  return data(api.PUT("/api/v1/definitions/{name}", {
    params: { path: { name }, query: dryRun ? { dry_run: true } : {} },
    body: definition as never, bodySerializer: () => definition, headers: { "content-type": language === "json" ? "application/json" : "application/yaml" },
    ...(signal && { signal }),
  }));
}

function useDebounced<T>(value: T, ms: number): T {
  const [settled, setSettled] = useState(value);
  useEffect(() => {
    const timer = setTimeout(() => setSettled(value), ms);
    return () => clearTimeout(timer);
  }, [value, ms]);
  return settled;
}

function marks(problems: readonly Found[]): CodeProblem[] {
  return problems.map((each) => ({ line: each.line ?? 1, column: each.column ?? 1, message: `${each.code} ${each.detail}`, ...(each.warning && { severity: "warning" as const }) }));
}

/** Completion from the schema that the server publishes for editors. YAML only: JSON is rarely written by hand. */
function useCompletion(language: Language) {
  const schema = useQuery({
    queryKey: ["definition-schema"], staleTime: Infinity,
    queryFn: async ({ signal }) => (await (await fetch("/schema/v1/workflow.json", { signal })).json()) as DefinitionSchema,
  });
  const root = schema.data;
  return useMemo(() => (root && language === "yaml" ? (draft: string, position: number) => completions(root, draft, position) : undefined), [root, language]);
}

function Problems({ check, named, onGo }: { check: Check; named: boolean; onGo: (place: { line: number; column: number }) => void }) {
  const deferred = useDeferredValue(check);
  if (!named) return <section className="panel"><Empty title={text.tabs.problems} hint={text.noName} /></section>;
  if (deferred.error !== null) return <ProblemBox error={deferred.error} />;
  if (deferred.problems.length === 0) return <section className="panel"><Empty title={deferred.pending ? text.checking : text.noProblems} /></section>;
  return (
    <ul className="panel problem-list">
      {deferred.problems.map((each, index) => (
        <li key={index} className={`tone-${each.warning ? "undo" : "bad"}`}>
          <button type="button" title={text.goTo(each.line ?? 1)} onClick={() => onGo({ line: each.line ?? 1, column: each.column ?? 1 })}>
            <span className="mono">{text.line(each.line ?? 1, each.column ?? 1)}</span>
            <span>{each.detail}</span>
            <code className="muted">{each.code}</code>
          </button>
        </li>
      ))}
    </ul>
  );
}
