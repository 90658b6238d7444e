// `GET /overview`: what needs a person in the namespace, and figures about what runs.
import { useQuery, type UseQueryResult } from "@tanstack/react-query";
import { getJson } from "./client";
import { keys } from "./keys";
import { REFRESH } from "./query";
import type { WorkflowSummary } from "./types";

export interface Overview {
  namespace: string;
  at: string;
  workflows: readonly { value: string; count: number }[];
  recent: {
    window_seconds: number;
    sampled: number;
    /** Whether the sample has all workflows of the window. */
    is_complete: boolean;
    ended: number;
    completed: number;
    rolled_back: number;
    errors: number;
    starts_per_minute: number;
    failure_ratio: number | null;
    undo_ratio: number | null;
    duration_p50_ms: number | null;
    duration_p99_ms: number | null;
  };
  errors: { count: number; workflows: readonly WorkflowSummary[] };
  stuck: { workflows: readonly WorkflowSummary[] };
  paused: number;
  /** Due commands. */
  backlog: number;
  services: readonly { service: string; backlog: number; executors: number; workers: number; is_served: boolean }[];
  dead_letters: { count: number; is_more: boolean } | null;
  elections: { leaders: number; without_leader: readonly string[] } | null;
  namespaces: readonly string[];
  queue_switch: { to: string; phase: string | null; behind: number } | null;
}

/** The overview of the namespace. The server reads it at most every two seconds. */
export function useOverview(options: { every?: number; enabled?: boolean } = {}): UseQueryResult<Overview> {
  return useQuery({
    queryKey: keys.overview(),
    queryFn: ({ signal }) => getJson<Overview>("/api/v1/overview", { signal }),
    refetchInterval: options.every ?? REFRESH.normal,
    enabled: options.enabled ?? true,
  });
}
