// Who the caller is and what it may do: `GET /session`.
import { useQuery, useQueryClient, type UseQueryResult } from "@tanstack/react-query";
import { useEffect } from "react";
import { api, ApiError, data } from "./client";
import { keys } from "./keys";
import { onUnauthorized } from "./session";
import type { Grant, Session } from "./types";

export type Permission =
  | "access.read" | "access.write" | "audit.read" | "batches.operate" | "batches.read" | "config.read" | "config.write"
  | "dead_letters.operate" | "dead_letters.read" | "definitions.read" | "definitions.write" | "docs.read"
  | "elections.campaign" | "elections.operate" | "elections.read" | "locks.read" | "locks.write" | "metrics.read"
  | "payloads.read" | "processes.read" | "queues.operate" | "queues.read" | "schedules.operate" | "schedules.read"
  | "schedules.write" | "secrets.read" | "secrets.write" | "services.read" | "services.serve" | "services.write"
  | "workflows.operate" | "workflows.read" | "workflows.start";

export type { Grant, Session };

/** The session. `null` if the server is older than sessions: it then checks the credential of each request itself. */
export function useSession(): UseQueryResult<Session | null> {
  const client = useQueryClient();
  useEffect(() => onUnauthorized(() => void client.invalidateQueries({ queryKey: keys.session() })), [client]);
  return useQuery({ queryKey: keys.session(), queryFn: ({ signal }) => readSession(signal), staleTime: 60_000, gcTime: Infinity });
}

async function readSession(signal: AbortSignal): Promise<Session | null> {
  try {
    return (await data(api.GET("/api/v1/session", { signal }))) as Session;
  } catch (error) {
    if (error instanceof ApiError && error.status === 404) return null;
    throw error;
  }
}

export interface Permissions {
  /** False until the session was read. Nothing is permitted before. */
  known: boolean;
  can: (permission: Permission) => boolean;
}

/** The permissions of the caller. Actions without permission are not shown: `const { can } = usePermissions()`. */
export function usePermissions(): Permissions {
  return permissionsOf(useSession().data);
}

/** The permissions of a session: `undefined` while it is read, `null` for a server without sessions. */
export function permissionsOf(session: Session | null | undefined): Permissions {
  if (session === undefined) return { known: false, can: () => false };
  if (session === null || !session.access_control) return { known: true, can: () => true };
  return { known: true, can: (permission) => session.permissions.includes(permission) };
}
