import { useMutation } from "@tanstack/react-query";
import { useMemo, useState } from "react";
import { usePermissions } from "../../api/access";
import { api, data } from "../../api/client";
import { formatJson, parseExact } from "../../api/json";
import { keys } from "../../api/keys";
import { ApiError, toApiError } from "../../api/problem";
import { s } from "../../strings";
import { Button, CodeEditor, confirmAction, JsonDiff, ProblemBox, type CodeProblem, type Completion } from "../../ui";
import { useConfigSchema, type Config } from "./query";
import { Changes } from "./list";
import { formOf, namesAt, placeOf } from "./settings";

const text = s.config;

const put = (document: string, version: number, dryRun: boolean, reason: string) =>
  data(api.PUT("/api/v1/config", {
    params: { query: { dry_run: dryRun, ...(reason !== "" && { reason }) }, header: { "If-Match": `"${String(version)}"` } },
    headers: { "Content-Type": "application/json" }, body: document as never, bodySerializer: (body: unknown) => body as string,
  }));

function jsonProblem(document: string): string | undefined {
  try {
    parseExact(document);
    return undefined;
  } catch (error) {
    return text.badJson(error instanceof Error ? error.message : String(error));
  }
}

/** The problems of a refused document at their lines. */
function problemsOf(error: unknown, document: string): CodeProblem[] {
  if (!(error instanceof ApiError)) return [];
  return error.errors.map((each) => ({
    ...(each.line ? { line: each.line, column: each.column ?? 1 } : placeOf(document, each.pointer)), message: each.detail,
  }));
}

/** The settings of the API as a document: edited, checked, compared, saved. */
export function Document({ config }: { config: Config }) {
  const { can } = usePermissions();
  const schema = useConfigSchema();
  const saved = useMemo(() => formatJson(config.settings), [config.settings]);
  const [draft, setDraft] = useState<{ text: string; version: number }>();
  const document = draft?.text ?? saved;
  const version = draft?.version ?? config.version;
  const invalid = useMemo(() => jsonProblem(document), [document]);
  const write = can("config.write");
  const check = useMutation({ mutationFn: () => put(document, version, true, "") });
  const problems = check.isError ? problemsOf(check.error, document) : [];
  const edit = (value: string) => {
    check.reset();
    setDraft(value === saved ? undefined : { text: value, version });
  };
  const discard = () => {
    check.reset();
    setDraft(undefined);
  };
  const review = () => check.mutate(undefined, {
    onSuccess: (checked) => confirmAction({
      title: text.reviewTitle, verb: text.reviewVerb, done: text.saved, refresh: [keys.config()], audit: { target_kind: "configuration" },
      body: <><Changes changes={checked.changes} /><JsonDiff before={config.settings} after={parseExact(document)} beforeLabel={text.before} afterLabel={text.after} /></>,
      run: async (reason) => {
        await put(document, version, false, reason);
        setDraft(undefined);
      },
    }),
  });
  const complete = (all: string, position: number): readonly Completion[] =>
    schema.data ? namesAt(schema.data, all, position).map(({ name, schema: each }) => ({ label: name, detail: formOf(each), ...(each.description && { info: each.description }) })) : [];
  return (
    <div className="fill tab-body">
      <p className="muted">{text.hint} {write && text.documentHint}</p>
      {draft && version !== config.version && <div className="notice tone-undo" role="status">{text.stale(config.version)}</div>}
      <CodeEditor language="json" label={text.document} value={document} onChange={edit} readOnly={!write} problems={problems} complete={complete} />
      {invalid && <p className="form-problem" role="alert">{invalid}</p>}
      {check.isError && <ProblemBox error={toApiError(check.error)} />}
      {check.isSuccess && <div role="status"><Changes changes={check.data.changes} /></div>}
      {write && (
        <div className="row">
          <Button disabled={Boolean(invalid) || !draft || check.isPending} onClick={() => check.mutate()}>{text.check}</Button>
          <Button tone="primary" disabled={Boolean(invalid) || !draft || check.isPending} onClick={review}>{text.review}</Button>
          {draft && <Button onClick={discard}>{text.discard}</Button>}
        </div>
      )}
      {draft && !invalid && (
        <section aria-label={text.unsaved} className="stack">
          <h2>{text.unsaved}</h2>
          <JsonDiff before={config.settings} after={parseExact(document)} beforeLabel={text.before} afterLabel={text.after} />
        </section>
      )}
    </div>
  );
}
