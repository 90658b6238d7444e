import type { ReactNode } from "react";
import { usePermissions } from "../../api/access";
import { FINAL_STATUSES, type WaitingOn, type Workflow } from "../../api/types";
import { s } from "../../strings";
import { Button, CopyAs, CopyButton, Duration, Icon, Menu, PageLink, Time, cli, curl, type IconName } from "../../ui";
import { operate, operateStep, sendSignal, verbIcons } from "./actions";
import { adviceFor, explain, signalOf, stepVerbs, waits, workflowVerbs } from "./explain";
import { Failure, StepActions } from "./StepPanel";

const text = s.workflow;
const SHOWN = 3;

/** The buttons of the page: the first verb, and the others in a menu. */
export function HeadActions({ workflow }: { workflow: Workflow }) {
  const { can } = usePermissions();
  const verbs = can("workflows.operate") ? workflowVerbs(workflow) : [];
  const path = `/api/v1/workflows/${workflow.id}`;
  const [first, ...rest] = verbs;
  return (
    <>
      {first && <Button icon={verbIcons[first]} onClick={() => operate(workflow, first)}>{text[first]}</Button>}
      {rest.length > 0 && (
        <Menu trigger={{ text: text.actions, icon: "down" }} label={text.actions}
          items={rest.map((verb) => ({ text: text[verb], icon: verbIcons[verb], danger: verb === "terminate" || verb === "cancel", onSelect: () => operate(workflow, verb) }))} />
      )}
      <CopyAs command={cli("workflow", "describe", workflow.id)} request={curl("GET", path)} />
    </>
  );
}

function Fact({ name, children }: { name: string; children: ReactNode }) {
  return <div><dt>{name}</dt><dd>{children}</dd></div>;
}

/** The identity of the workflow, in one line. */
export function Facts({ workflow }: { workflow: Workflow }) {
  const names = text.facts;
  const labels = Object.entries(workflow.labels);
  return (
    <dl className="head-facts">
      <Fact name={names.id}><span className="mono">{workflow.id}</span><CopyButton text={workflow.id} /></Fact>
      {workflow.idempotency_key && <Fact name={names.key}><span className="mono">{workflow.idempotency_key}</span></Fact>}
      <Fact name={names.started}><Time at={workflow.created_at} /></Fact>
      <Fact name={names.duration}><Duration from={workflow.created_at} to={workflow.ended_at ?? (FINAL_STATUSES.includes(workflow.status) ? workflow.created_at : undefined)} /></Fact>
      {workflow.deadline && !FINAL_STATUSES.includes(workflow.status) && <Fact name={names.deadline}><Time at={workflow.deadline} /></Fact>}
      {workflow.parent && <Fact name={names.parent}><PageLink page="/workflows/:id" to={`/workflows/${workflow.parent.id}`} className="mono">{workflow.parent.id}</PageLink></Fact>}
      {labels.length > 0 && <Fact name={names.labels}>{labels.map(([name, value]) => <span key={name} className="chip"><span>{name}={value}</span></span>)}</Fact>}
    </dl>
  );
}

/** Why the workflow is in its status, with what to do about it. */
export function Why({ workflow, onStep }: { workflow: Workflow; onStep: (step: string) => void }) {
  const { can } = usePermissions();
  const why = explain(workflow);
  if (!why) return null;
  const step = workflow.steps.find((each) => each.name === why.step);
  const icon: IconName = why.tone === "bad" ? "alert" : why.tone === "undo" ? (workflow.status === "ROLLED_BACK" ? "undone" : "undo") : why.tone === "hold" ? "pause" : "stop";
  return (
    <section className={`why tone-${why.tone}`} aria-label={why.title}>
      <Icon name={icon} />
      <div className="why-text">
        <strong>{why.title}</strong>
        {why.failure && <Failure error={{ code: why.failure.code, message: why.failure.message }} />}
        {why.note && <p className="muted">{why.note}</p>}
      </div>
      <div className="row">
        {workflow.status === "PAUSED" && can("workflows.operate") && <Button small tone="primary" icon="play" onClick={() => operate(workflow, "resume")}>{text.resume}</Button>}
        {step && workflow.status === "ERROR" && <StepActions workflow={workflow} step={step} small />}
        {step && <Button small onClick={() => onStep(step.name)}>{text.showStep}</Button>}
      </div>
    </section>
  );
}

const waitIcons: Record<string, IconName> = {
  NO_WORKER: "alert", IN_FLIGHT: "play", BACKOFF: "retry", SIGNAL: "mail", TIMER: "clock", CHILD: "graph", LOCK: "lock", CAPACITY: "queue", OPERATOR: "alert",
};

/** The reasons why the workflow waits, and the actions that help. */
export function WaitingList({ workflow, onStep }: { workflow: Workflow; onStep: (step: string) => void }) {
  const waiting = waits(workflow);
  if (waiting.length === 0) return null;
  return (
    <section className="waits" aria-label={text.waiting}>
      <h2>{text.waiting}</h2>
      <ul>{waiting.slice(0, SHOWN).map((each, index) => <Wait key={`${each.kind}${each.step ?? ""}${index}`} workflow={workflow} waiting={each} onStep={onStep} />)}</ul>
      {waiting.length > SHOWN && <p className="muted">{text.waitingMore(waiting.length - SHOWN)}</p>}
    </section>
  );
}

const sentence = (detail: string) => `${detail.charAt(0).toUpperCase()}${detail.slice(1)}${/[.!?]$/.test(detail) ? "" : "."}`;

function Wait({ workflow, waiting, onStep }: { workflow: Workflow; waiting: WaitingOn; onStep: (step: string) => void }) {
  const { can } = usePermissions();
  const step = workflow.steps.find((each) => each.name === waiting.step);
  const tone = waiting.kind === "OPERATOR" || waiting.kind === "NO_WORKER" ? "bad" : waiting.kind === "SIGNAL" || waiting.kind === "LOCK" ? "hold" : "forward";
  const child = workflow.children?.find((each) => each.step === waiting.step);
  return (
    <li className={`tone-${tone}`}>
      <Icon name={waitIcons[waiting.kind] ?? "clock"} />
      <div>
        <strong>{text.kinds[waiting.kind] ?? waiting.kind}</strong>
        {step && <> · <button type="button" className="link" onClick={() => onStep(step.name)}>{step.title || step.name}</button></>}
        <span className="muted"> {waiting.since && <>{text.since} <Duration from={waiting.since} /></>}{waiting.until && <>, {text.until} <Time at={waiting.until} /></>}</span>
        <p>{sentence(waiting.detail)} <span className="muted">{adviceFor(waiting)}</span></p>
      </div>
      <div className="row">
        {can("workflows.operate") && step && waiting.kind === "SIGNAL" && signalOf(step.action) !== undefined && <Button small tone="primary" icon="mail" onClick={() => sendSignal(workflow, step)}>{text.signal}</Button>}
        {can("workflows.operate") && step && waiting.kind === "BACKOFF" && stepVerbs(workflow, step).includes("retry") && <Button small icon="retry" onClick={() => operateStep(workflow, step, "retry")}>{text.retry}</Button>}
        {can("workflows.operate") && waiting.kind === "OPERATOR" && workflow.status === "PAUSED" && !step && <Button small tone="primary" icon="play" onClick={() => operate(workflow, "resume")}>{text.resume}</Button>}
        {waiting.kind === "CHILD" && child && <PageLink page="/workflows/:id" to={`/workflows/${child.id}`}>{text.openChild}</PageLink>}
        {waiting.kind === "NO_WORKER" && <PageLink page="/services" to="/services">{s.home.services}</PageLink>}
      </div>
    </li>
  );
}
