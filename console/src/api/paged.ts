import { useInfiniteQuery } from "@tanstack/react-query";
import { useMemo } from "react";

interface Part<T> {
  rows: readonly T[];
  /** The token of the next page. Empty on the last one. */
  next: string;
}

/** A list that the API returns in pages. Pass `more` to the `onEnd` of a table. */
export function usePaged<T>(queryKey: readonly unknown[], read: (token: string, signal: AbortSignal) => Promise<Part<T>>, refetchInterval?: number) {
  const query = useInfiniteQuery({
    queryKey,
    queryFn: ({ pageParam, signal }) => read(pageParam, signal),
    initialPageParam: "",
    getNextPageParam: (part) => part.next || undefined,
    ...(refetchInterval !== undefined && { refetchInterval }),
  });
  const rows = useMemo(() => query.data?.pages.flatMap((part) => part.rows) ?? [], [query.data]);
  const more = query.hasNextPage && !query.isFetchingNextPage ? () => void query.fetchNextPage() : undefined;
  return { query, rows, more };
}

/** Reads all pages, one after the other. `onPart` receives the number of rows so far; the signal ends it. */
export async function readAll<T>(read: (token: string) => Promise<Part<T>>, onPart: (rows: readonly T[], total: number) => void | Promise<void>, signal?: AbortSignal): Promise<void> {
  let token = "";
  let total = 0;
  do {
    const part = await read(token);
    total += part.rows.length;
    await onPart(part.rows, total);
    token = part.next;
  } while (token !== "" && !signal?.aborted);
}
