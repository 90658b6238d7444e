// Saved views of the list: a filter with its sort order and columns. They are kept in the browser.
import { currentNamespace } from "../../api/session";
import { stored, storedTexts } from "../../api/stored";
import { OPEN_FILTER, STUCK_FILTER } from "../../filter/filter";
import { s } from "../../strings";

export interface View {
  name: string;
  filter: string;
  sort?: string;
  columns?: readonly string[];
}

const MAX_VIEWS = 50;
const storageKey = () => `goconductor.views.${currentNamespace()}`;
const COLUMNS_KEY = "goconductor.workflow-columns";

/** Views that every namespace has. */
export const BUILT_IN: readonly View[] = [
  { name: s.workflows.views.needsOperator, filter: "status = ERROR" },
  { name: s.workflows.views.open, filter: OPEN_FILTER },
  { name: s.workflows.views.stuck, filter: STUCK_FILTER },
  { name: s.workflows.views.rolledBack, filter: 'status = ROLLED_BACK AND created_at > "-24h"' },
];

function isView(value: unknown): value is View {
  const view = value as Partial<View> | null;
  return typeof view?.name === "string" && typeof view.filter === "string";
}

export function savedViews(): View[] {
  const views = stored(storageKey());
  return Array.isArray(views) ? views.filter(isView) : [];
}

/** Adds a view, or replaces the one with its name. Returns all views. */
export function saveView(view: View): View[] {
  const views = [...savedViews().filter((each) => each.name !== view.name), view].slice(-MAX_VIEWS);
  localStorage.setItem(storageKey(), JSON.stringify(views));
  return views;
}

export function removeView(name: string): View[] {
  const views = savedViews().filter((each) => each.name !== name);
  localStorage.setItem(storageKey(), JSON.stringify(views));
  return views;
}

/** The chosen columns, or undefined for the default. */
export function savedColumns(): string[] | undefined {
  return storedTexts(COLUMNS_KEY);
}

export function saveColumns(columns: readonly string[]): void {
  localStorage.setItem(COLUMNS_KEY, JSON.stringify(columns));
}
