// What the console reads about one workflow beyond its view: graph, relations, and the attempts of a step.
import { useQuery } from "@tanstack/react-query";
import { ApiError, getJson } from "./client";
import { keys } from "./keys";
import type { DefinitionGraph, WorkflowStep } from "./types";

export interface Edge {
  from: string;
  to: string;
}

export type GraphNode = DefinitionGraph["nodes"][number] & {
  /** Whether the step runs for each element of a list. */
  for_each?: boolean;
};

/** A definition as a graph. The compensation of `to` in `undo_edges` follows that of `from`. */
export interface WorkflowGraph {
  name: string;
  version: number;
  nodes: readonly GraphNode[];
  edges: readonly Edge[];
  undo_edges?: readonly Edge[];
  rollback_order?: "reverse" | "parallel";
}

export interface RelatedWorkflow {
  id: string;
  step: string | null;
  definition: string | null;
  status: string | null;
}

export interface LockRelation {
  key: string;
  step: string | null;
  shared: boolean;
  held: boolean;
  fencing_token: number | null;
  holder: string | null;
  requested_at: string;
}

export interface Relations {
  parent: RelatedWorkflow | null;
  children: readonly RelatedWorkflow[];
  is_more: boolean;
  schedule: { name: string; time: string | null } | null;
  locks: readonly LockRelation[];
  trace_id: string | null;
}

export type Outcome = "RUNNING" | "RETRYING" | "COMPLETED" | "FAILED" | "UNKNOWN";

export interface Attempt {
  side: "execute" | "compensate";
  /** From 1. 0 if the side ended without an attempt. */
  attempt: number;
  outcome: Outcome;
  started_at: string | null;
  ended_at: string | null;
  /** When the next attempt is due. */
  retry_at: string | null;
  executor: string | null;
  child: string | null;
  output: unknown;
  error: { code: string; message: string; detail?: unknown } | null;
  actor: string | null;
  reason: string | null;
}

export interface StepDetail {
  step: WorkflowStep;
  input: unknown;
  input_error: string | null;
  compensation_input: unknown;
  compensation_input_error: string | null;
  attempts: readonly Attempt[];
  is_more: boolean;
}

const base = (id: string) => `/api/v1/workflows/${encodeURIComponent(id)}`;

/** The graph of the definition that a workflow follows. It changes only with a migration to another version. */
export function useWorkflowGraph(id: string, definition: string, version: number) {
  return useQuery({
    queryKey: [...keys.graph(definition, version), id],
    queryFn: async ({ signal }) => {
      try {
        return await getJson<WorkflowGraph>(`${base(id)}/graph`, { signal });
      } catch (error) {
        if (!(error instanceof ApiError) || error.code !== "GC2005") throw error;
        return await getJson<WorkflowGraph>(`/api/v1/definitions/${encodeURIComponent(definition)}/versions/${version}/graph`, { signal });
      }
    },
    staleTime: Infinity,
  });
}

/** The relations of a workflow, read again when it changed (`seq`). */
export function useRelations(id: string, seq: number, enabled = true) {
  return useQuery({
    queryKey: [...keys.workflow(id), "relations", seq],
    queryFn: ({ signal }) => getJson<Relations>(`${base(id)}/relations`, { signal }),
    placeholderData: (old) => old,
    enabled,
  });
}

/** A step with its inputs and attempts, read again when the workflow changed (`seq`). */
export function useStepDetail(id: string, step: string, seq: number) {
  return useQuery({
    queryKey: [...keys.workflow(id), "step", step, seq],
    queryFn: ({ signal }) => getJson<StepDetail>(`${base(id)}/steps/${encodeURIComponent(step)}`, { signal }),
    // Only the data of the same step may stand in while it is read again.
    placeholderData: (old) => (old?.step.name === step ? old : undefined),
  });
}
