import type { Failure as WireFailure } from "./generated/goconductor/v1/worker.js";
import {
  type Event as WireEvent, RollbackCause, StepStatus, WaitingKind, type Workflow as WireWorkflow, WorkflowStatus,
} from "./generated/goconductor/v1/workflow.js";
import { decodeJson } from "./json.js";
import { fromTimestamp } from "./time.js";

/** The status of a workflow. Completed, rolled back and terminated are final. */
export type Status =
  | "QUEUED"
  | "IN_PROGRESS"
  | "ROLLING_BACK"
  | "PAUSED"
  | "ERROR"
  | "COMPLETED"
  | "ROLLED_BACK"
  | "TERMINATED";

/** Returns whether a workflow with the status has ended. */
export function isFinal(status: Status): boolean {
  return status === "COMPLETED" || status === "ROLLED_BACK" || status === "TERMINATED";
}

/** The failure of a step. */
export interface Failure {
  /** The stable code of the participant, or of the engine. */
  code: string;
  /** The message for people. */
  message: string;
  /** The details as JSON. It can be empty. */
  detailJson: string;
}

/** The state of a step. */
export interface StepDescription {
  name: string;
  title: string;
  /** compensatable, pivot or retriable. */
  kind: string;
  /** `service/action`. */
  action: string;
  /** `service/action`. It is empty if the step has no compensation. */
  compensate: string;
  /** A status such as COMPLETED, FAILED, UNKNOWN or COMPENSATED. */
  status: string;
  attempts: number;
  compensationAttempts: number;
  queuedAt: Date | undefined;
  startedAt: Date | undefined;
  endedAt: Date | undefined;
  /** The output as JSON. It is empty if the step has none. */
  outputJson: string;
  failure: Failure | undefined;
}

/** A reason why a workflow makes no progress. */
export interface Waiting {
  /** A kind such as NO_WORKER, IN_FLIGHT, BACKOFF or SIGNAL. */
  kind: string;
  step: string;
  since: Date | undefined;
  until: Date | undefined;
  detail: string;
}

/** The state of a workflow. */
export interface Description {
  id: string;
  namespace: string;
  definition: string;
  version: number;
  status: Status;
  /** The cause of the rollback: STEP_FAILED, CANCELLED, TIMED_OUT, OPERATOR or PARENT. It is empty without a rollback. */
  cause: string;
  labels: Readonly<Record<string, string>>;
  idempotencyKey: string;
  /** The input as JSON. It is empty in lists. */
  inputJson: string;
  /** The output as JSON. It is empty in lists, and unless the workflow completed. */
  outputJson: string;
  /** The first failure. */
  failure: Failure | undefined;
  /** The number of the last event. */
  seq: bigint;
  createdAt: Date | undefined;
  endedAt: Date | undefined;
  deadline: Date | undefined;
  /** The steps, in the order of the definition. They are empty in lists. */
  steps: readonly StepDescription[];
  /** The reasons why the workflow makes no progress. They are empty in lists. */
  waitingOn: readonly Waiting[];
}

/** An event of a workflow. */
export interface Event {
  /** The number of the event: from 1, without gaps. */
  seq: bigint;
  time: Date | undefined;
  /** A type such as STEP_COMPLETED. */
  type: string;
  step: string;
  attempt: number;
  /** Details as JSON. It can be empty. */
  detailJson: string;
  actor: string;
}

/** The result of a workflow that has ended. */
export interface Result<Output = unknown> {
  /** COMPLETED, ROLLED_BACK or TERMINATED. */
  status: Status;
  /** The cause of the rollback. It is empty if the workflow did not roll back. */
  cause: string;
  /** The output. It is null unless the workflow completed. */
  output: Output | null;
  /** The output as JSON. */
  outputJson: string;
  /** The first failure. It is undefined if no step failed. */
  failure: Failure | undefined;
}

/** Returns the name of a value of an enum without its prefix. The unspecified value becomes empty. */
export function nameOf(names: Readonly<Record<number, string>>, value: number, prefix: string): string {
  const name = (names[value] ?? "").slice(prefix.length);
  return name === "UNSPECIFIED" ? "" : name;
}

export function failureOf(failure: WireFailure | undefined): Failure | undefined {
  return failure === undefined
    ? undefined
    : { code: failure.code, message: failure.message, detailJson: failure.detailJson };
}

export function statusOf(workflow: WireWorkflow): Status {
  return nameOf(WorkflowStatus, workflow.status, "WORKFLOW_STATUS_") as Status;
}

export function descriptionOf(workflow: WireWorkflow): Description {
  return {
    id: workflow.id,
    namespace: workflow.namespace,
    definition: workflow.definition,
    version: workflow.version,
    status: statusOf(workflow),
    cause: nameOf(RollbackCause, workflow.cause, "ROLLBACK_CAUSE_"),
    labels: workflow.labels,
    idempotencyKey: workflow.idempotencyKey,
    inputJson: workflow.inputJson,
    outputJson: workflow.outputJson,
    failure: failureOf(workflow.error),
    seq: workflow.seq,
    createdAt: fromTimestamp(workflow.createdAt),
    endedAt: fromTimestamp(workflow.endedAt),
    deadline: fromTimestamp(workflow.deadline),
    steps: workflow.steps.map((step) => ({
      name: step.name,
      title: step.title,
      kind: step.kind,
      action: step.action,
      compensate: step.compensate,
      status: nameOf(StepStatus, step.status, "STEP_STATUS_"),
      attempts: step.attempts,
      compensationAttempts: step.compensationAttempts,
      queuedAt: fromTimestamp(step.queuedAt),
      startedAt: fromTimestamp(step.startedAt),
      endedAt: fromTimestamp(step.endedAt),
      outputJson: step.outputJson,
      failure: failureOf(step.error),
    })),
    waitingOn: workflow.waitingOn.map((waiting) => ({
      kind: nameOf(WaitingKind, waiting.kind, "WAITING_KIND_"),
      step: waiting.step,
      since: fromTimestamp(waiting.since),
      until: fromTimestamp(waiting.until),
      detail: waiting.detail,
    })),
  };
}

export function resultOf<Output>(workflow: WireWorkflow): Result<Output> {
  return {
    status: statusOf(workflow),
    cause: nameOf(RollbackCause, workflow.cause, "ROLLBACK_CAUSE_"),
    output: decodeJson(workflow.outputJson) as Output | null,
    outputJson: workflow.outputJson,
    failure: failureOf(workflow.error),
  };
}

export function eventOf(event: WireEvent): Event {
  return {
    seq: event.seq,
    time: fromTimestamp(event.time),
    type: event.type,
    step: event.step,
    attempt: event.attempt,
    detailJson: event.detailJson,
    actor: event.actor,
  };
}
