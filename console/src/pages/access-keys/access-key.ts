import type { components } from "../../api/schema";

export type AccessKey = components["schemas"]["AccessKeyView"];
export type KeyState = "active" | "expired" | "revoked";

/** The roles that every installation has. */
export const ROLES = ["viewer", "operator", "developer", "worker", "admin"] as const;

export function keyState(key: AccessKey, now: number): KeyState {
  if (key.revoked_at) return "revoked";
  return key.expires_at && Date.parse(key.expires_at) <= now ? "expired" : "active";
}

/** Splits a text at commas and white space. */
export function list(text: string): string[] {
  return text.split(/[\s,]+/).filter(Boolean);
}
