// The data of one workflow beyond its view: graph, relations, and the attempts of a step.
import { useQuery } from "@tanstack/react-query";
import { api, data } from "./client";
import { keys } from "./keys";
import type { DefinitionGraph, Relations, WorkflowStep } from "./types";

export type { LockRelation, RelatedWorkflow, Relations } from "./types";
export type Edge = DefinitionGraph["edges"][number];
export type GraphNode = Omit<DefinitionGraph["nodes"][number], "for_each"> & { for_each?: boolean };
/** A definition as a graph. `undoEdges` derives the order of the compensations where it is absent. */
export type WorkflowGraph = Pick<DefinitionGraph, "name" | "version" | "edges"> & Partial<Pick<DefinitionGraph, "undo_edges" | "rollback_order">> & {
  nodes: readonly GraphNode[];
};

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

/** The graph of the definition that a workflow follows. It changes only with a migration to another version. */
export function useWorkflowGraph(id: string, definition: string, version: number) {
  return useQuery({
    queryKey: [...keys.graph(definition, version), id],
    queryFn: ({ signal }): Promise<WorkflowGraph> => data(api.GET("/api/v1/workflows/{id}/graph", { params: { path: { id } }, signal })),
    staleTime: Infinity,
  });
}

/** The relations of a workflow, read again when it changed (`seq`). */
export function useRelations(id: string, seq: number, enabled = true) {
  return useQuery({
    queryKey: [...keys.workflow(id), "relations", seq],
    queryFn: async ({ signal }) => (await data(api.GET("/api/v1/workflows/{id}/relations", { params: { path: { id } }, signal }))) as Relations,
    placeholderData: (old) => old,
    enabled,
  });
}

/** A step with its inputs and attempts, read again when the workflow changed (`seq`). */
export function useStepDetail(id: string, step: string, seq: number) {
  return useQuery({
    queryKey: [...keys.workflow(id), "step", step, seq],
    queryFn: async ({ signal }) => (await data(api.GET("/api/v1/workflows/{id}/steps/{step}", { params: { path: { id, step } }, signal }))) as StepDetail,
    // Only the data of the same step may stand in while it is read again.
    placeholderData: (old) => (old?.step.name === step ? old : undefined),
  });
}
