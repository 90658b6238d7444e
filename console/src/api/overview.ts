// `GET /overview`: what needs a person in the namespace, and figures about what runs.
import { useQuery, type UseQueryResult } from "@tanstack/react-query";
import { getJson } from "./client";
import { keys } from "./keys";
import { REFRESH } from "./query";
import type { Overview } from "./types";

export type { Overview };

/** The overview of the namespace. The server reads it at most every two seconds. */
export function useOverview(options: { every?: number; enabled?: boolean } = {}): UseQueryResult<Overview> {
  return useQuery({
    queryKey: keys.overview(),
    queryFn: ({ signal }) => getJson<Overview>("/api/v1/overview", { signal }),
    refetchInterval: options.every ?? REFRESH.normal,
    enabled: options.enabled ?? true,
  });
}
