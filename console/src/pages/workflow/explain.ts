// The summary of a workflow: why it is in its status, and what can be done.
import { FINAL_STATUSES, type WaitingOn, type Workflow, type WorkflowStep } from "../../api/types";
import { s } from "../../strings";
import type { Tone } from "../../ui";

const text = s.workflow;

export interface Explanation {
  tone: Tone;
  title: string;
  /** Code and message of the failure. */
  failure?: { code: string; message: string } | undefined;
  note?: string;
  /** The step to look at. */
  step?: string;
}

export type StepVerb = "retry" | "skip" | "complete";

const FORWARD_OPEN = ["FAILED", "UNKNOWN", "RETRYING"];
const UNDO_OPEN = ["COMPENSATION_RETRYING", "COMPENSATION_FAILED"];

/** Whether the rollback has begun. */
export const rollsBack = (workflow: Workflow) => Boolean(workflow.cause) && workflow.steps.some((step) => step.compensation) || workflow.status === "ROLLING_BACK";

/** The actions on a step that are possible now. The server decides. */
export function stepVerbs(workflow: Workflow, step: WorkflowStep): readonly StepVerb[] {
  if (FINAL_STATUSES.includes(workflow.status)) return [];
  if (UNDO_OPEN.includes(step.status)) return ["retry", "skip", "complete"];
  if (workflow.status === "ROLLING_BACK" || rollsBack(workflow)) return [];
  if (FORWARD_OPEN.includes(step.status)) return ["retry", "skip", "complete"];
  return isWait(step) && step.status === "IN_PROGRESS" ? ["skip", "complete"] : [];
}

/** Whether the verb applies to the compensation. */
export const isUndo = (step: WorkflowStep) => UNDO_OPEN.includes(step.status);

const isWait = (step: WorkflowStep) => step.action === "sleep" || signalOf(step.action) !== undefined;

/** The name of the signal that a step with this action waits for. */
export function signalOf(action: string): string | undefined {
  return action.startsWith("signal ") ? action.slice("signal ".length) : undefined;
}

/** Why the workflow is in its status. Undefined while it makes progress. */
export function explain(workflow: Workflow): Explanation | undefined {
  switch (workflow.status) {
    case "COMPLETED":
      return undefined;
    case "ROLLED_BACK":
      return rollback(workflow, text.because.rolledBack);
    case "ROLLING_BACK":
      return rollback(workflow, text.because.rollingBack);
    case "ERROR":
      return stuck(workflow);
    case "PAUSED":
      return { tone: "hold", title: text.because.paused, note: text.because.pausedHint, ...(workflow.error && { failure: workflow.error }) };
    case "TERMINATED":
      return { tone: "idle", title: text.because.terminated, ...(workflow.error && { failure: workflow.error }) };
    default:
      return undefined;
  }
}

function rollback(workflow: Workflow, verb: string): Explanation {
  const undone = workflow.steps.filter((step) => step.status === "COMPENSATED").length;
  const effects = workflow.steps.filter(hasEffect).length;
  const note = text.because.undone(undone, effects);
  const origin = failedStep(workflow);
  const cause = workflow.cause ?? "";
  const tone = "undo" as const;
  if (cause === "STEP_FAILED" && origin) {
    const title = (origin.status === "UNKNOWN" ? text.because.unknown : text.because.step)(verb, origin.title || origin.name);
    return { tone, title, failure: origin.error ?? workflow.error ?? undefined, note, step: origin.name };
  }
  const named = cause === "CANCELLED" || cause === "TIMED_OUT" || cause === "OPERATOR" || cause === "PARENT";
  return { tone, title: named ? text.because[cause](verb) : text.because.other(verb, cause), failure: workflow.error ?? undefined, note };
}

/** Whether a rollback undoes the step, or has undone it. */
const hasEffect = (step: WorkflowStep) => Boolean(step.compensation) || (Boolean(step.compensate) && ["COMPLETED", "UNKNOWN"].includes(step.status));

/** The step that caused the rollback: the one with the error of the workflow, else the first that failed. */
export function failedStep(workflow: Workflow): WorkflowStep | undefined {
  // The error of a step that was undone can be that of its compensation.
  const ended = workflow.steps.filter((step) => step.error && ["FAILED", "UNKNOWN"].includes(step.status));
  const failed = ended.length > 0 ? ended : workflow.steps.filter((step) => step.error && step.status === "COMPENSATED");
  return failed.find((step) => step.error?.code === workflow.error?.code && step.error?.message === workflow.error?.message) ?? failed[0];
}

function stuck(workflow: Workflow): Explanation {
  const steps = workflow.steps.filter((step) => stepVerbs(workflow, step).includes("retry") && !/RETRYING/.test(step.status));
  const first = steps[0];
  if (!first) return { tone: "bad", title: text.because.stuckMany(0), failure: workflow.error ?? undefined };
  const name = first.title || first.name;
  const title = steps.length > 1 ? text.because.stuckMany(steps.length) : isUndo(first) ? text.because.stuckUndo(name) : text.because.stuck(name);
  const left = workflow.steps.filter((step) => hasEffect(step) && step.status !== "COMPENSATED").length;
  return { tone: "bad", title, failure: first.error ?? workflow.error ?? undefined, step: first.name, note: [isUndo(first) && text.because.left(left), text.advice["OPERATOR"]].filter(Boolean).join(" ") };
}

/** The reasons why the workflow waits, the most urgent first, without those that {@link explain} states. */
export function waits(workflow: Workflow): readonly WaitingOn[] {
  const operators = workflow.waiting_on.filter((each) => each.kind === "OPERATOR");
  const said = operators.length === 1 && ["ERROR", "PAUSED"].includes(workflow.status);
  return workflow.waiting_on.filter((each) => !said || each.kind !== "OPERATOR").sort((a, b) => rank(a) - rank(b));
}

const URGENT = ["OPERATOR", "NO_WORKER", "SIGNAL", "LOCK", "CAPACITY", "CHILD", "BACKOFF", "TIMER", "IN_FLIGHT"];
const rank = (waiting: WaitingOn) => (URGENT.includes(waiting.kind) ? URGENT.indexOf(waiting.kind) : URGENT.length);

/** The remedy for a reason why the workflow waits. */
export const adviceFor = (waiting: WaitingOn) => text.advice[waiting.kind] ?? "";

export type WorkflowVerb = "cancel" | "pause" | "resume" | "compensate" | "terminate" | "rerun" | "migrate";

/** The actions on the workflow that are possible now, the most useful first. */
export function workflowVerbs(workflow: Workflow): readonly WorkflowVerb[] {
  const back = rollsBack(workflow);
  switch (workflow.status) {
    case "COMPLETED":
      return pivotDone(workflow) ? [] : ["compensate", "rerun"];
    case "ROLLED_BACK":
    case "TERMINATED":
      return ["rerun"];
    case "PAUSED":
      return back ? ["resume", "terminate"] : pivotDone(workflow) ? ["resume", "migrate", "terminate"] : ["resume", "cancel", "migrate", "terminate"];
    case "ERROR":
      return back || pivotDone(workflow) ? ["pause", "migrate", "terminate"].filter((verb) => !back || verb !== "migrate") as WorkflowVerb[] : ["cancel", "pause", "rerun", "migrate", "terminate"];
    case "ROLLING_BACK":
      return ["pause", "terminate"];
    default:
      return pivotDone(workflow) ? ["pause", "migrate", "terminate"] : ["cancel", "pause", "migrate", "terminate"];
  }
}

/** Whether the point of no return has passed. */
export const pivotDone = (workflow: Workflow) => workflow.steps.some((step) => step.kind === "pivot" && step.status === "COMPLETED");
