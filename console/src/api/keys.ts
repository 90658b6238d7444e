import { currentNamespace } from "./session";

// Query keys: [namespace, resource, …]. Invalidating a prefix refreshes everything below it.
const key = (...parts: readonly unknown[]) => [currentNamespace(), ...parts] as const;

export const keys = {
  session: () => key("session"),
  overview: () => key("overview"),
  accessKeys: () => key("access-keys"),
  workflows: () => key("workflows"),
  workflowList: (filter: string) => key("workflows", "list", filter),
  workflowCounts: (by: string, filter: string) => key("workflows", "counts", by, filter),
  workflow: (id: string) => key("workflows", "one", id),
  definitions: () => key("definitions"),
  definition: (name: string, version?: number) => key("definitions", name, version ?? "newest"),
  graph: (name: string, version?: number) => key("definitions", name, version ?? "newest", "graph"),
  services: () => key("services"),
  queues: () => key("queues"),
  deadLetters: () => key("dead-letters"),
  elections: () => key("elections"),
  locks: () => key("locks"),
  processes: () => key("processes"),
  schedules: () => key("schedules"),
  batches: () => key("batches"),
  config: () => key("config"),
  secrets: () => key("secrets"),
  audit: () => key("audit"),
} as const;
