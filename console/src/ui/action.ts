import type { ReactNode } from "react";

/** A change that a person confirms. See {@link confirmAction}. */
export interface Action {
  title: string;
  /** The consequences of the action, and whether it can be undone. */
  body?: ReactNode;
  /** The text of the button: a verb. */
  verb: string;
  danger?: boolean;
  /** Whether a reason is asked for. Default: `required`. */
  reason?: "required" | "optional" | "none";
  /** A text that the person must type, for destructive actions. */
  typed?: string;
  run: (reason: string) => Promise<unknown>;
  /** Query keys to refresh afterwards. */
  refresh?: readonly (readonly unknown[])[];
  /** The message after success, which may depend on the result of `run`. */
  done: string | ((result: unknown) => string);
  /** The filter of the audit page, such as `{target_kind: "workflow", target_name: id}`. */
  audit?: Record<string, string>;
}

const listeners = new Set<() => void>();
let current: Action | undefined;

export const actionStore = {
  subscribe: (listener: () => void) => {
    listeners.add(listener);
    return () => listeners.delete(listener);
  },
  snapshot: () => current,
  set: (action: Action | undefined) => {
    current = action;
    for (const listener of listeners) listener();
  },
};

/** Asks for confirmation and the reason, runs the action, shows its error or a message with a link to the audit log. */
export function confirmAction(action: Action): void {
  actionStore.set(action);
}
