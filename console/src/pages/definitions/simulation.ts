// A simulated course as states of steps: what a workflow would show after each event.
import type { components } from "../../api/schema";
import type { WorkflowStep } from "../../api/types";

export type Course = components["schemas"]["CourseView"];
export type Line = components["schemas"]["LineView"];
export type Simulation = components["schemas"]["SimulationView"];

export const FAULTS = ["refused", "unknown", "timeout", "compensation"] as const;
export type Fault = (typeof FAULTS)[number];

export interface Fail {
  step: string;
  fault: Fault;
}

/** Reads `step=fault`, the form of the API. */
export function parseFail(text: string): Fail | undefined {
  const [step, fault = "refused"] = text.split("=");
  return step && (FAULTS as readonly string[]).includes(fault) ? { step, fault: fault as Fault } : undefined;
}

/** The steps of all courses, in the order in which they run. */
export function stepOrder(courses: readonly Course[]): string[] {
  const names = new Set<string>();
  for (const course of courses) for (const { step } of course.forward) names.add(step);
  for (const course of courses) if (course.step) names.add(course.step);
  return [...names];
}

export function courseOf(courses: readonly Course[], fail: Fail | undefined): Course | undefined {
  return courses.find((course) => (fail ? course.step === fail.step && course.fault === fail.fault : !course.step));
}

/** Whether effects remain although the workflow did not complete, and the definition allows for the fault. */
export function leavesEffects(course: Course): boolean {
  return course.standing.length > 0 && !course.contradicts;
}

interface State {
  status: string;
  attempts: number;
  undoAttempts: number;
  startedAt?: number;
  endedAt?: number;
  undoQueuedAt?: number;
  undoStartedAt?: number;
  undoEndedAt?: number;
}

const attemptOf = (line: Line): number => Number(/attempt (\d+)/.exec(line.detail)?.[1] ?? 0);
const ofCompensation = (line: Line, state: State) => line.detail.startsWith("compensation") || state.undoQueuedAt !== undefined;

function apply(state: State, line: Line): State {
  const attempt = attemptOf(line);
  const undo = ofCompensation(line, state);
  const attempts = undo ? { undoAttempts: Math.max(state.undoAttempts, attempt) } : { attempts: Math.max(state.attempts, attempt) };
  switch (line.type) {
    case "STEP_QUEUED": return { ...state, status: "QUEUED", startedAt: line.at_ms };
    case "STEP_WAITING":
    case "CHILD_STARTED": return { ...state, status: "IN_PROGRESS", startedAt: state.startedAt ?? line.at_ms };
    case "STEP_SKIPPED": return { ...state, status: "SKIPPED" };
    case "ATTEMPT_STARTED": return undo
      ? { ...state, ...attempts, status: "COMPENSATING", undoStartedAt: state.undoStartedAt ?? line.at_ms }
      : { ...state, ...attempts, status: "IN_PROGRESS", startedAt: state.startedAt ?? line.at_ms };
    case "ATTEMPT_FAILED": return { ...state, ...attempts, status: undo ? "COMPENSATION_RETRYING" : "RETRYING" };
    case "STEP_COMPLETED": return { ...state, ...attempts, status: "COMPLETED", endedAt: line.at_ms };
    case "STEP_FAILED": return { ...state, ...attempts, status: "FAILED", endedAt: line.at_ms };
    case "STEP_UNKNOWN": return { ...state, ...attempts, status: "UNKNOWN", endedAt: line.at_ms };
    case "COMPENSATION_QUEUED": return { ...state, status: "COMPENSATION_QUEUED", undoQueuedAt: line.at_ms };
    case "STEP_COMPENSATED": return { ...state, ...attempts, status: "COMPENSATED", undoQueuedAt: state.undoQueuedAt ?? line.at_ms, undoEndedAt: line.at_ms };
    case "COMPENSATION_FAILED": return { ...state, ...attempts, status: "COMPENSATION_FAILED", undoEndedAt: line.at_ms };
    case "STEP_WITHDRAWN": return { ...state, status: "PENDING" };
    default: return state;
  }
}

const time = (ms: number | undefined): string | null => (ms === undefined ? null : new Date(ms).toISOString());

interface StepFacts {
  name: string;
  kind?: string;
  action?: string;
  compensate?: string | null;
}

/** The steps after the first `count` events, in the form of a workflow's steps. Times begin at 0. */
export function stepsAfter(nodes: readonly StepFacts[], lines: readonly Line[], count: number): WorkflowStep[] {
  const states = new Map<string, State>(nodes.map((node) => [node.name, { status: "PENDING", attempts: 0, undoAttempts: 0 }]));
  for (const line of lines.slice(0, count)) {
    const state = line.step ? states.get(line.step) : undefined;
    if (line.step && state) states.set(line.step, apply(state, line));
  }
  return nodes.map((node) => {
    const state = states.get(node.name) ?? { status: "PENDING", attempts: 0, undoAttempts: 0 };
    const now = lines[Math.max(0, count - 1)]?.at_ms ?? 0;
    return {
      name: node.name, kind: node.kind ?? "", action: node.action ?? "", compensate: node.compensate ?? null,
      status: state.status, attempts: state.attempts, compensation_attempts: state.undoAttempts,
      // A step that runs has run until the current event: virtual time does not continue by itself.
      started_at: time(state.startedAt), ended_at: state.startedAt === undefined ? null : time(state.endedAt ?? now),
      ...(state.undoQueuedAt !== undefined && {
        compensation: { queued_at: time(state.undoQueuedAt), started_at: time(state.undoStartedAt ?? state.undoQueuedAt), ended_at: time(state.undoEndedAt ?? now) },
      }),
    } as WorkflowStep;
  });
}

/** The order of the compensations so far, from 1. */
export function undoOrder(lines: readonly Line[], count: number): string[] {
  return [...new Set(lines.slice(0, count).flatMap((line) => (line.type === "COMPENSATION_QUEUED" && line.step ? [line.step] : [])))];
}
