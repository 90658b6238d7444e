import { lazy, type ComponentType } from "react";
import type { Permission } from "./api/access";
import type { IconName } from "./ui/Icon";

export interface Page {
  /** A path of wouter, below the namespace. */
  path: string;
  component: ComponentType;
  /** The text and place in the navigation, and the permission that its page needs. Pages without it are reached by links. */
  nav?: { label: string; icon: IconName; group: "operate" | "build" | "system"; key?: string; needs?: Permission };
}

type Load = () => Promise<{ default: ComponentType }>;
const page = (path: string, load: Load, nav?: Page["nav"]): Page => ({ path, component: lazy(load), ...(nav && { nav }) });

// One line for each page. The order is the order in the navigation.
export const pages: readonly Page[] = [
  page("/", () => import("./pages/home/home"), { label: "Home", icon: "home", group: "operate", key: "h" }),
  page("/workflows", () => import("./pages/workflows/workflows"), { label: "Workflows", icon: "list", group: "operate", key: "w" }),
  page("/batches", () => import("./pages/batches/batches"), { label: "Batches", icon: "layers", group: "operate", key: "b" }),
  page("/definitions", () => import("./pages/definitions/definitions"), { label: "Definitions", icon: "book", group: "build", key: "d" }),
  page("/definitions/:name", () => import("./pages/definitions/definition")),
  page("/editor", () => import("./pages/definitions/editor")),
  page("/editor/:name", () => import("./pages/definitions/editor")),
  page("/start", () => import("./pages/start/start")),
  page("/batches/:id", () => import("./pages/batches/batch")),
  page("/schedules", () => import("./pages/schedules/schedules"), { label: "Schedules", icon: "calendar", group: "operate", key: "c", needs: "schedules.read" }),
  page("/schedules/:name", () => import("./pages/schedules/schedule")),
  page("/services", () => import("./pages/services/services"), { label: "Services", icon: "service", group: "operate", key: "s", needs: "services.read" }),
  page("/queues", () => import("./pages/queues/queues"), { label: "Queues", icon: "queue", group: "operate", key: "q", needs: "queues.read" }),
  page("/dead-letters", () => import("./pages/dead-letters/dead-letters"), { label: "Dead letters", icon: "mail", group: "operate", key: "l", needs: "dead_letters.read" }),
  page("/locks", () => import("./pages/locks/locks"), { label: "Locks", icon: "lock", group: "operate", key: "o", needs: "locks.read" }),
  page("/elections", () => import("./pages/elections/elections"), { label: "Elections", icon: "crown", group: "system", key: "e", needs: "elections.read" }),
  page("/processes", () => import("./pages/processes/processes"), { label: "Processes", icon: "cpu", group: "system", key: "p", needs: "processes.read" }),
  page("/config", () => import("./pages/config/config"), { label: "Configuration", icon: "gear", group: "system", key: "f", needs: "config.read" }),
  page("/secrets", () => import("./pages/secrets/secrets"), { label: "Secrets", icon: "lock", group: "system", key: "x", needs: "secrets.read" }),
  page("/access-keys", () => import("./pages/access-keys/access-keys"), { label: "Access keys", icon: "key", group: "system", key: "k", needs: "access.read" }),
  page("/audit", () => import("./pages/audit/audit"), { label: "Audit log", icon: "book", group: "system", key: "a", needs: "audit.read" }),
  page("/workflows/:id", () => import("./pages/workflow/workflow")),
];

/** Whether a page has this path pattern. Links to pages that do not exist are shown as text. */
export function pageExists(path: string): boolean {
  return pages.some((each) => each.path === path);
}
