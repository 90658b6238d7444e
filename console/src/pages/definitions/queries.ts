import { useQuery } from "@tanstack/react-query";
import { api, data } from "../../api/client";
import type { WorkflowGraph } from "../../api/insight";
import { keys } from "../../api/keys";
import type { Simulation } from "./simulation";

/** The newest version of each definition. */
export function useDefinitions() {
  return useQuery({ queryKey: keys.definitions(), queryFn: ({ signal }) => data(api.GET("/api/v1/definitions", { signal })) });
}

interface DefinitionOptions {
  enabled?: boolean;
  /** The newest version is not followed. */
  fixed?: boolean;
}

/** A definition, with its source. Without a version, the newest. */
export function useDefinition(name: string, version?: number, { enabled = true, fixed = version !== undefined }: DefinitionOptions = {}) {
  return useQuery({
    queryKey: keys.definition(name, version),
    enabled: enabled && name !== "",
    queryFn: ({ signal }) => (version === undefined
      ? data(api.GET("/api/v1/definitions/{name}", { params: { path: { name } }, signal }))
      : data(api.GET("/api/v1/definitions/{name}/versions/{version}", { params: { path: { name, version } }, signal }))),
    ...(fixed && { staleTime: Infinity }),
  });
}

/** The versions of a definition, the newest first. */
export function useVersions(name: string) {
  return useQuery({
    queryKey: [...keys.definition(name), "versions"],
    enabled: name !== "",
    queryFn: ({ signal }) => data(api.GET("/api/v1/definitions/{name}/versions", { params: { path: { name } }, signal })),
    select: (list) => [...list.versions].sort((a, b) => b.version - a.version),
  });
}

export function useGraph(name: string, version: number | undefined) {
  return useQuery({
    queryKey: keys.graph(name, version),
    enabled: version !== undefined,
    queryFn: ({ signal }): Promise<WorkflowGraph> =>
      data(api.GET("/api/v1/definitions/{name}/versions/{version}/graph", { params: { path: { name, version: version ?? 0 } }, signal })),
    staleTime: Infinity,
  });
}

export interface SimulationRequest {
  name: string;
  version?: number | undefined;
  /** A definition that is not applied. */
  draft?: string | undefined;
  input?: unknown;
  /** `step=fault`. Without it, every step is simulated with every fault. */
  fail?: string | undefined;
  enabled?: boolean;
}

export function useSimulation({ name, version, draft, input, fail, enabled = true }: SimulationRequest) {
  const body = {
    ...(draft !== undefined ? { definition: draft } : version !== undefined && { version }),
    ...(input !== undefined && { input }), ...(fail !== undefined && { fail }),
  };
  return useQuery({
    queryKey: [...keys.definition(name, version), "simulation", body],
    enabled,
    queryFn: ({ signal }): Promise<Simulation> =>
      data(api.POST("/api/v1/definitions/{name}/simulate", { params: { path: { name } }, body: body as never, signal })) as Promise<Simulation>,
    staleTime: Infinity, retry: false, placeholderData: (old) => old,
  });
}
