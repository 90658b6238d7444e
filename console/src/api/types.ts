import type { components } from "./schema";

type Schemas = components["schemas"];
/** A view whose absent fields the server sends as null. */
type Nulls<T> = T extends (infer Element)[] ? Nulls<Element>[]
  : T extends object ? { readonly [K in keyof T]-?: undefined extends T[K] ? Nulls<Exclude<T[K], undefined>> | null : Nulls<T[K]> }
  : T;
export type WorkflowSummary = Schemas["SummaryView"];
export type Workflow = Schemas["WorkflowView"];
export type WorkflowStep = Schemas["WorkflowStepView"];
export type WorkflowEvent = Schemas["EventView"];
export type WaitingOn = Schemas["Waiting"];
export type Failure = Schemas["FailureView"];
export type Service = Schemas["ServiceView"];
export type Backlog = Schemas["BacklogView"];
export type Leader = Schemas["LeaderView"];
export type DeadLetter = Schemas["DeadLetterView"];
export type Process = Schemas["ProcessView"];
export type Definition = Schemas["DefinitionView"];
export type DefinitionGraph = Schemas["Graph"];
export type Overview = Nulls<Schemas["OverviewView"]>;
export type Grant = Schemas["GrantView"];
export type Session = Nulls<Schemas["SessionView"]>;
export type RelatedWorkflow = Nulls<Schemas["RelatedWorkflow"]>;
export type LockRelation = Nulls<Schemas["LockRelation"]>;
export type Relations = Nulls<Schemas["RelationsView"]>;
export type Batch = Schemas["BatchView"];
export type Schedule = Schemas["ScheduleView"];
export type Secret = Schemas["SecretView"];
export type Lock = Schemas["LockView"];
export type AuditRecord = Schemas["AuditRecordView"];

/** Statuses of a workflow, in the order in which the console shows them. */
export const WORKFLOW_STATUSES = [
  "ERROR", "ROLLING_BACK", "PAUSED", "IN_PROGRESS", "QUEUED", "ROLLED_BACK", "TERMINATED", "COMPLETED",
] as const;

export const FINAL_STATUSES: readonly string[] = ["COMPLETED", "ROLLED_BACK", "TERMINATED"];
