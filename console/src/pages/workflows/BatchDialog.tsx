import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { useLocation } from "wouter";
import { api, ApiError, data } from "../../api/client";
import { keys } from "../../api/keys";
import { currentNamespace } from "../../api/session";
import type { Batch, WorkflowSummary } from "../../api/types";
import { s } from "../../strings";
import { Button, cli, CopyAs, curl, Dialog, ErrorState, Loading, ProblemBox, showToast, StatusBadge, Table, TextArea, TextField, Time, type Column } from "../../ui";
import { targetFilters, textToType, type Operation, type Target } from "./selection";

const text = s.batches;
const UNEXPECTED_COUNT = "GC2115";
const STEP_NAME = /^[a-z][a-z0-9_]*$/;

interface Preview {
  counts: number[];
  total: number;
  sample: WorkflowSummary[];
}

async function preview(operation: Operation, filters: readonly string[], step: string, signal: AbortSignal): Promise<Preview> {
  const body = { operation, reason: "dry run", dry_run: true, ...(step && { step }) };
  const parts = await Promise.all(filters.map((filter) => data(api.POST("/api/v1/batches", { body: { ...body, filter }, signal }))));
  const previews = parts as { count: number; sample: WorkflowSummary[] }[];
  return {
    counts: previews.map((each) => each.count),
    total: previews.reduce((sum, each) => sum + each.count, 0),
    sample: previews.flatMap((each) => each.sample).slice(0, 10),
  };
}

const sampleColumns: readonly Column<WorkflowSummary>[] = [
  { id: "status", header: s.workflows.status, width: "8.5rem", cell: (row) => <StatusBadge status={row.status} /> },
  { id: "definition", header: s.workflows.definition, cell: (row) => row.definition },
  { id: "id", header: s.workflows.id, width: "minmax(0, 1.5fr)", from: 420, cell: (row) => <span className="mono">{row.id}</span> },
  { id: "created", header: s.workflows.created, width: "5.5rem", align: "end", from: 420, cell: (row) => <Time at={row.created_at} /> },
];

interface Props {
  operation: Operation;
  target: Target;
  onClose: () => void;
  onStarted: () => void;
}

/**
 * Asks for everything that a batch needs: it shows what a dry run selects, and starts the batch with exactly that
 * number. The filter is frozen when the dialog opens.
 */
export function BatchDialog({ operation, target, onClose, onStarted }: Props) {
  const [openedAt] = useState(Date.now);
  const [step, setStep] = useState("");
  const [rate, setRate] = useState("");
  const [reason, setReason] = useState("");
  const [typed, setTyped] = useState("");
  const [tried, setTried] = useState(false);
  const client = useQueryClient();
  const [, navigate] = useLocation();
  const filters = targetFilters(target, openedAt);
  const takesStep = operation === "retry" || operation === "skip";
  const wanted = textToType(operation, currentNamespace());
  const dangerous = wanted !== undefined;
  const dryRun = useQuery({
    queryKey: [...keys.batches(), "preview", operation, filters],
    queryFn: ({ signal }) => preview(operation, filters, operation === "skip" ? "any" : "", signal),
    staleTime: 0, gcTime: 0, refetchOnWindowFocus: false,
  });
  const counts = dryRun.data;
  const problems = {
    reason: reason.trim() === "" ? s.ui.reasonRequired : undefined,
    step: (operation === "skip" && step === "") || (step !== "" && !STEP_NAME.test(step)) ? text.stepProblem : undefined,
    rate: rate !== "" && !(/^\d{1,5}$/.test(rate) && Number(rate) >= 1 && Number(rate) <= 10_000) ? text.rateProblem : undefined,
    typed: wanted !== undefined && typed !== wanted ? s.ui.typeToConfirm(wanted) : undefined,
  };
  const body = (index: number) => ({
    operation, filter: filters[index] ?? "", expected_count: counts?.counts[index] ?? 0, reason: reason.trim(),
    ...(step && { step }), ...(rate && { rate: Number(rate) }),
  });
  const start = useMutation({
    mutationFn: async () => {
      const started: Batch[] = [];
      for (const [index, count] of (counts?.counts ?? []).entries()) {
        if (count > 0) started.push((await data(api.POST("/api/v1/batches", { body: body(index) }))) as Batch);
      }
      return started;
    },
    onSuccess: (started) => {
      onStarted();
      showToast({ tone: "good", text: text.started(operation, counts?.total ?? 0) });
      void client.invalidateQueries({ queryKey: keys.batches() });
      const [only] = started;
      navigate(started.length === 1 && only ? `/batches/${only.id}` : "/batches");
    },
  });
  const ready = counts !== undefined && counts.total > 0 && !start.isPending;
  const submit = () => {
    setTried(true);
    if (ready && Object.values(problems).every((each) => each === undefined)) start.mutate();
  };
  const changed = start.error instanceof ApiError && start.error.code === UNEXPECTED_COUNT;
  return (
    <Dialog
      title={text.titles[operation]}
      wide
      onClose={onClose}
      onSubmit={submit}
      foot={
        <>
          {counts !== undefined && filters.length === 1 && (
            <CopyAs
              command={cli("batch", "create", operation, "--filter", filters[0] ?? "", "--reason", reason.trim() || "REASON", "--expect", String(counts.total), ...(step ? ["--step", step] : []), ...(rate ? ["--rate", rate] : []))}
              request={curl("POST", "/api/v1/batches", { ...body(0), reason: reason.trim() || "REASON" })}
            />
          )}
          <span className="gap" />
          <Button onClick={onClose}>{s.common.cancel}</Button>
          <Button type="submit" tone={dangerous ? "danger-solid" : "primary"} disabled={!ready}>
            {text.verb(operation, counts?.total)}
          </Button>
        </>
      }
    >
      <p>{text.effects[operation]}</p>
      <Selected dryRun={dryRun} target={target} filter={filters[0] ?? ""} />
      {counts?.total === 0 ? null : (
        <>
          {takesStep && (
            <TextField label={text.step} optional={operation === "retry"} hint={operation === "retry" ? text.stepHint : text.skipStepHint} value={step}
              problem={tried ? problems.step : undefined} maxLength={63} className="mono" onChange={(event) => setStep(event.target.value.trim())} />
          )}
          <TextArea label={s.common.reason} hint={text.reasonHint} required rows={2} maxLength={1024} value={reason}
            problem={tried ? problems.reason : undefined} onChange={(event) => setReason(event.target.value)} />
          {wanted !== undefined && (
            <TextField label={s.ui.typeToConfirm(wanted)} value={typed} problem={tried ? problems.typed : undefined}
              onChange={(event) => setTyped(event.target.value)} />
          )}
          <TextField label={text.rate} optional hint={text.rateHint} value={rate} inputMode="numeric" problem={tried ? problems.rate : undefined}
            className="batch-rate" onChange={(event) => setRate(event.target.value.trim())} />
        </>
      )}
      {start.isError && <ProblemBox error={start.error} />}
      {changed && <div><Button icon="retry" onClick={() => {
        start.reset();
        void dryRun.refetch();
      }}>{text.recount}</Button></div>}
    </Dialog>
  );
}

function Selected({ dryRun, target, filter }: { dryRun: ReturnType<typeof useQuery<Preview>>; target: Target; filter: string }) {
  if (dryRun.isError) return <ErrorState error={dryRun.error} onRetry={() => void dryRun.refetch()} />;
  if (!dryRun.data) return <Loading lines={3} />;
  const { total, sample } = dryRun.data;
  return (
    <section className="batch-selected" aria-label={text.selected}>
      <p role="status">
        <strong className="num">{text.affected(total)}</strong>{" "}
        <span className="muted">{target.kind === "some" ? text.ofSelected(target.ids.length) : text.frozen}</span>
      </p>
      {target.kind === "all" && <code className="batch-filter">{filter}</code>}
      {sample.length > 0 && <Table label={text.sample} auto columns={sampleColumns} rows={sample} rowKey={(row) => row.id} />}
      {total > sample.length && sample.length > 0 && <p className="muted">{text.andMore(total - sample.length)}</p>}
    </section>
  );
}
