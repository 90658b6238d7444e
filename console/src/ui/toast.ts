export interface Toast {
  id: number;
  tone: "good" | "bad" | "idle";
  text: string;
  link?: { href: string; text: string };
}

const SHOWN_MS = 6_000;
const MAX_TOASTS = 4;
let toasts: readonly Toast[] = [];
let next = 1;
const listeners = new Set<() => void>();

function set(value: readonly Toast[]): void {
  toasts = value;
  for (const listener of listeners) listener();
}

export const toastStore = {
  subscribe: (listener: () => void) => {
    listeners.add(listener);
    return () => listeners.delete(listener);
  },
  snapshot: () => toasts,
  dismiss: (id: number) => set(toasts.filter((toast) => toast.id !== id)),
};

/** Shows a message for six seconds. Errors stay until they are closed. */
export function showToast(toast: Omit<Toast, "id">): void {
  const id = next++;
  set([...toasts, { ...toast, id }].slice(-MAX_TOASTS));
  if (toast.tone !== "bad") setTimeout(() => toastStore.dismiss(id), SHOWN_MS);
}
