import { useEffect, useRef, type ReactNode } from "react";
import { usePermissions } from "../../api/access";
import { useStepDetail, type Attempt } from "../../api/insight";
import type { Workflow, WorkflowStep } from "../../api/types";
import type { StepNode } from "../../graph/model";
import { s } from "../../strings";
import { Badge, Button, Duration, Empty, JsonView, Loaded, PageLink, StatusBadge, Table, Time, type Column } from "../../ui";
import { operateStep, rerun, sendSignal, verbIcons } from "./actions";
import { isUndo, signalOf, stepVerbs, workflowVerbs } from "./explain";

const text = s.workflow;

interface Props {
  workflow: Workflow;
  step: WorkflowStep;
  node: StepNode | undefined;
  /** Whether the panel was opened by the person, and takes the focus. */
  focus: boolean;
  onClose: () => void;
}

/** Everything about one step: what happened, what it read and returned, and what can be done. */
export function StepPanel({ workflow, step, node, focus, onClose }: Props) {
  const heading = useRef<HTMLHeadingElement>(null);
  const detail = useStepDetail(workflow.id, step.name, workflow.seq);
  useEffect(() => {
    if (focus) heading.current?.focus();
  }, [focus, step.name]);
  return (
    // Escape closes the panel wherever the focus is inside it.
    // eslint-disable-next-line jsx-a11y/no-noninteractive-element-interactions
    <aside className="step-panel" aria-label={step.title || step.name} onKeyDown={(event) => {
      if (event.key !== "Escape" || document.querySelector("dialog[open]")) return;
      event.stopPropagation();
      onClose();
    }}>
      <div className="step-panel-head">
        <div>
          <h2 ref={heading} tabIndex={-1}>{step.title || step.name}</h2>
          <div className="row"><StatusBadge status={step.status} />{step.title && <span className="mono muted">{step.name}</span>}</div>
        </div>
        <Button tone="plain" small icon="cross" label={text.closeStep} onClick={onClose} />
      </div>
      <div className="step-panel-body">
        <StepActions workflow={workflow} step={step} />
        {step.error && <Failure error={step.error} />}
        <Facts step={step} node={node} />
        <Loaded query={detail} lines={4}>
          {(data) => (
            <>
              {data.attempts.length > 0 && <Attempts attempts={data.attempts} cut={data.is_more} />}
              <Section title={text.input} problem={data.input_error}>{data.input !== null && data.input !== undefined ? <JsonView compact label={text.input} value={data.input} /> : null}</Section>
              {step.output !== null && step.output !== undefined && <Section title={text.outputTitle}><JsonView compact label={text.outputTitle} value={step.output} /></Section>}
              {(step.compensation ?? null) && <Section title={text.undoInput} problem={data.compensation_input_error}><JsonView compact label={text.undoInput} value={data.compensation_input} /></Section>}
            </>
          )}
        </Loaded>
      </div>
    </aside>
  );
}

export function StepActions({ workflow, step, small }: { workflow: Workflow; step: WorkflowStep; small?: boolean }) {
  const { can } = usePermissions();
  if (!can("workflows.operate")) return null;
  const verbs = stepVerbs(workflow, step);
  const signal = step.status === "IN_PROGRESS" && signalOf(step.action) !== undefined;
  const again = !small && workflowVerbs(workflow).includes("rerun") && workflow.status !== "ROLLED_BACK" && step.status !== "PENDING" && step.kind !== "pivot";
  if (verbs.length === 0 && !signal && !again) return null;
  return (
    <div className="row">
      {signal && <Button small tone="primary" icon="mail" onClick={() => sendSignal(workflow, step)}>{text.signal}</Button>}
      {verbs.map((verb) => (
        <Button key={verb} small icon={verbIcons[verb]} {...(verb === "retry" && { tone: "primary" as const })} onClick={() => operateStep(workflow, step, verb)}>
          {isUndo(step) ? text[`${verb}Undo`] : text[verb]}
        </Button>
      ))}
      {again && <Button small icon="retry" onClick={() => rerun(workflow, step)}>{text.rerunFrom}</Button>}
    </div>
  );
}

/** A failure: its code, the message, and the detail of the participant. */
export function Failure({ error }: { error: { code: string; message: string; detail?: unknown } }) {
  return (
    <div className="failure">
      <strong className="mono">{error.code}</strong>
      <p>{error.message}</p>
      {error.detail !== undefined && error.detail !== null && <JsonView compact label={text.error} value={error.detail} />}
    </div>
  );
}

function Section({ title, problem, children }: { title: string; problem?: string | null; children: ReactNode }) {
  if (!children && !problem) return null;
  return (
    <section className="step-section" aria-label={title}>
      <h3>{title}</h3>
      {problem ? <p className="problem-text">{problem}</p> : children}
    </section>
  );
}

function Facts({ step, node }: { step: WorkflowStep; node: StepNode | undefined }) {
  const names = text.step;
  const rows: [string, ReactNode][] = [
    [names.action, <span key="action" className="mono">{step.action}</span>],
    [names.compensate, step.compensate ? <span key="undo" className="mono">{step.compensate}</span> : <span key="undo" className="muted">{names.noCompensate}</span>],
  ];
  if (step.kind !== "compensatable") rows.push([names.kind, text.stepKinds[step.kind] ?? step.kind]);
  if (node && node.conditions.length > 0) rows.push([names.conditions, <span key="when" className="mono">{node.conditions.join(" && ")}</span>]);
  if (node && node.blocks.length > 0) rows.push([names.blocks, <span key="in" className="mono">{node.blocks.join(" › ")}</span>]);
  const join = node && text.join[node.join];
  if (join) rows.push([s.workflow.step.kind, join]);
  const generation = (step as { generation?: number }).generation;
  if (generation) rows.push([names.generation, generation]);
  if (step.started_at ?? step.queued_at) rows.push([text.facts.started, <Time key="started" at={step.started_at ?? step.queued_at} mode="local" />]);
  if (step.started_at) rows.push([text.facts.duration, <Duration key="duration" from={step.started_at} to={step.ended_at} />]);
  if (node?.undoIssued && node.undoPlace !== undefined) {
    rows.push([text.sides["compensate"] ?? "", <span key="place">{text.undoAs(node.undoPlace)} · <Duration from={node.undoStartedAt} to={node.undoEndedAt} /></span>]);
  }
  return <dl className="step-facts">{rows.map(([name, value]) => <div key={name}><dt>{name}</dt><dd>{value}</dd></div>)}</dl>;
}

const columns: readonly Column<Attempt>[] = [
  { id: "n", header: text.columns.seq, width: "1.6rem", cell: (row) => <span className="num">{text.attempt(row.attempt)}</span> },
  { id: "side", header: "", width: "4.2rem", cell: (row) => <span className={row.side === "compensate" ? "undo-text" : "muted"}>{text.sides[row.side]}</span> },
  { id: "outcome", header: s.workflows.status, cell: (row) => <Outcome attempt={row} /> },
  { id: "duration", header: text.facts.duration, width: "4.2rem", align: "end", cell: (row) => (row.started_at ? <Duration from={row.started_at} to={row.ended_at} /> : null) },
];

const outcomeLooks = {
  RUNNING: ["forward", "play"], RETRYING: ["bad", "retry"], COMPLETED: ["good", "check"], FAILED: ["bad", "cross"], UNKNOWN: ["bad", "question"],
} as const;

function Outcome({ attempt }: { attempt: Attempt }) {
  const [tone, icon] = outcomeLooks[attempt.outcome] ?? (["idle", "dot"] as const);
  const who = attempt.actor ? text.byOperator(attempt.actor, attempt.reason ?? "") : attempt.executor ?? "";
  return (
    <span title={[attempt.error && `${attempt.error.code}: ${attempt.error.message}`, who].filter(Boolean).join("\n")}>
      {attempt.error ? <Badge tone={tone} icon={icon}>{attempt.error.code}</Badge> : <Badge tone={tone} icon={icon}>{text.outcomes[attempt.outcome] ?? attempt.outcome}</Badge>}
      {attempt.child && <> <PageLink page="/workflows/:id" to={`/workflows/${attempt.child}`}>{text.openChild}</PageLink></>}
    </span>
  );
}

function Attempts({ attempts, cut }: { attempts: readonly Attempt[]; cut: boolean }) {
  return (
    <section className="step-section" aria-label={text.attemptList}>
      <h3>{text.attemptList}</h3>
      <Table label={text.attemptList} auto columns={columns} rows={attempts} rowKey={(row) => `${row.side}${row.attempt}${row.ended_at}`} empty={<Empty title={s.common.none} />} />
      {cut && <p className="muted">{text.attemptsCut}</p>}
    </section>
  );
}
