// `GET /overview`: what needs a person in the namespace, and figures about what runs.
import { useQuery, type UseQueryResult } from "@tanstack/react-query";
import { api, data } from "./client";
import { keys } from "./keys";
import { REFRESH } from "./query";
import type { Overview } from "./types";

export type { Overview };

/** The overview of the namespace. The server reads it at most every two seconds. */
export function useOverview(options: { every?: number; enabled?: boolean } = {}): UseQueryResult<Overview> {
  return useQuery({
    queryKey: keys.overview(),
    queryFn: async ({ signal }) => (await data(api.GET("/api/v1/overview", { signal }))) as Overview,
    refetchInterval: options.every ?? REFRESH.normal,
    enabled: options.enabled ?? true,
  });
}
