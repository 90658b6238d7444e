import { QueryClient } from "@tanstack/react-query";
import { ApiError } from "./problem";

/** Intervals of the automatic refresh of data that has no stream. */
export const REFRESH = { fast: 2_000, normal: 5_000, slow: 30_000 } as const;

const MAX_RETRIES = 3;

export function createQueryClient(): QueryClient {
  return new QueryClient({
    defaultOptions: {
      queries: {
        staleTime: 1_000,
        gcTime: 60_000,
        retry: (failures, error) => failures < MAX_RETRIES && error instanceof ApiError && error.retryable,
        // The last data stays visible while the server is away; the connection state says that it is stale.
        networkMode: "always",
      },
      mutations: { retry: false, networkMode: "always" },
    },
  });
}
