import { useInfiniteQuery, useQuery, useQueryClient, type InfiniteData } from "@tanstack/react-query";
import { useEffect, useMemo, useRef, useState } from "react";
import { api, data } from "../../api/client";
import { keys } from "../../api/keys";
import { throttle, useWorkflowChanges } from "../../api/live";
import type { components } from "../../api/schema";
import type { WorkflowSummary } from "../../api/types";

const PAGE_SIZE = 200;
const NEW_ROWS_INTERVAL_MS = 2_000;
type ListPage = components["schemas"]["WorkflowPage"];

/**
 * The workflows that match a filter, newest first. Loaded rows are updated in place by the watch stream. New workflows
 * are only counted in `fresh`, so that rows do not jump: `showFresh` loads them.
 */
export function useWorkflowList(filter: string) {
  const client = useQueryClient();
  const queryKey = keys.workflowList(filter);
  const query = useInfiniteQuery({
    queryKey,
    queryFn: ({ pageParam, signal }) =>
      data(api.GET("/api/v1/workflows", { params: { query: { filter, page_size: PAGE_SIZE, page_token: pageParam } }, signal })),
    initialPageParam: "",
    getNextPageParam: (page) => page.next_page_token || undefined,
    refetchOnWindowFocus: false,
  });
  const rows = useMemo(() => query.data?.pages.flatMap((page) => page.workflows) ?? [], [query.data]);
  const fresh = useFresh(filter, rows[0]);
  useRowUpdates(queryKey, rows);
  return {
    query,
    rows,
    fresh,
    showFresh: () => {
      void client.resetQueries({ queryKey, exact: true });
    },
  };
}

/** Updates loaded rows in place. Changes are collected for a frame, so that a burst costs one rendering. */
function useRowUpdates(queryKey: readonly unknown[], rows: readonly WorkflowSummary[]): void {
  const client = useQueryClient();
  const known = useMemo(() => new Set(rows.map((row) => row.id)), [rows]);
  const changed = useRef(new Map<string, WorkflowSummary>());
  const frame = useRef(0);
  useEffect(() => () => cancelAnimationFrame(frame.current), []);
  useWorkflowChanges((change) => {
    if (!known.has(change.id)) return;
    changed.current.set(change.id, change);
    cancelAnimationFrame(frame.current);
    frame.current = requestAnimationFrame(() => {
      const changes = changed.current;
      changed.current = new Map();
      client.setQueryData<InfiniteData<ListPage>>(queryKey, (old) => old && merged(old, changes));
    });
  });
}

function merged(old: InfiniteData<ListPage>, changes: ReadonlyMap<string, WorkflowSummary>): InfiniteData<ListPage> {
  const pages = old.pages.map((page) => {
    if (!page.workflows.some((row) => changes.has(row.id))) return page;
    const workflows = page.workflows.map((row) => {
      const change = changes.get(row.id);
      return change && change.seq > row.seq ? change : row;
    });
    return { ...page, workflows };
  });
  return { ...old, pages };
}

/** The number of workflows that match the filter and are newer than the first row. */
function useFresh(filter: string, first: WorkflowSummary | undefined): number {
  const [ticks, setTicks] = useState(0);
  const tick = useMemo(() => throttle(() => setTicks((count) => count + 1), NEW_ROWS_INTERVAL_MS), []);
  useEffect(() => tick.cancel, [tick]);
  useWorkflowChanges((change) => {
    if (!first || change.created_at > first.created_at) tick.call();
  });
  const newer = first ? `created_at > "${first.created_at}"` : "";
  const both = [filter && `(${filter})`, newer].filter(Boolean).join(" AND ");
  const query = useQuery({
    queryKey: keys.workflowCounts("definition", `${both}#${ticks}`),
    queryFn: ({ signal }) => data(api.GET("/api/v1/workflow-counts", { params: { query: { by: "definition", filter: both } }, signal })),
    enabled: ticks > 0,
    gcTime: 0,
  });
  return query.data?.counts.reduce((sum, each) => sum + each.count, 0) ?? 0;
}
