import { useQueries } from "@tanstack/react-query";
import { api, data } from "../../api/client";
import { keys } from "../../api/keys";
import { WORKFLOW_STATUSES } from "../../api/types";

/** The numbers of workflows of a definition, all versions together. */
export interface DefinitionCounts {
  completed: number;
  rolledBack: number;
  terminated: number;
  errors: number;
  open: number;
}

type ByStatus = ReadonlyMap<string, ReadonlyMap<string, number>>;

/** Counts by definition for each status. They follow the watch stream, like all counts. */
export function useDefinitionCounts(): ByStatus {
  return useQueries({
    queries: WORKFLOW_STATUSES.map((status) => ({
      queryKey: keys.workflowCounts("definition", `status = ${status}`),
      queryFn: ({ signal }: { signal: AbortSignal }) =>
        data(api.GET("/api/v1/workflow-counts", { params: { query: { by: "definition", filter: `status = ${status}` } }, signal })),
    })),
    combine: (results): ByStatus => new Map(results.map((result, index) => [
      WORKFLOW_STATUSES[index] ?? "", new Map(result.data?.counts.map((each) => [each.value, each.count])),
    ])),
  });
}

export function countsOf(counts: ByStatus, name: string): DefinitionCounts {
  const of = (status: string) => counts.get(status)?.get(name) ?? 0;
  return {
    completed: of("COMPLETED"), rolledBack: of("ROLLED_BACK"), terminated: of("TERMINATED"), errors: of("ERROR"),
    open: of("QUEUED") + of("IN_PROGRESS") + of("ROLLING_BACK") + of("PAUSED"),
  };
}
