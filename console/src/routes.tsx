import { lazy, type ComponentType } from "react";
import type { IconName } from "./ui/Icon";

export interface Page {
  /** A path of wouter, below the namespace. */
  path: string;
  component: ComponentType;
  /** The text and place in the navigation. Pages without it are reached by links. */
  nav?: { label: string; icon: IconName; group: "operate" | "build" | "system"; key?: string };
}

type Load = () => Promise<{ default: ComponentType }>;
const page = (path: string, load: Load, nav?: Page["nav"]): Page => ({ path, component: lazy(load), ...(nav && { nav }) });

// One line for each page. The order is the order in the navigation.
export const pages: readonly Page[] = [
  page("/", () => import("./pages/home/home"), { label: "Home", icon: "home", group: "operate", key: "h" }),
  page("/workflows", () => import("./pages/workflows/workflows"), { label: "Workflows", icon: "list", group: "operate", key: "w" }),
  page("/batches", () => import("./pages/batches/batches"), { label: "Batches", icon: "layers", group: "operate", key: "b" }),
  page("/batches/:id", () => import("./pages/batches/batch")),
];

/** Whether a page has this path pattern. Links to pages that do not exist are shown as text. */
export function pageExists(path: string): boolean {
  return pages.some((each) => each.path === path);
}
