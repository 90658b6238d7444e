import { useSyncExternalStore } from "react";

export type Theme = "system" | "light" | "dark";
const STORED = "goconductor.theme";
const dark = typeof window !== "undefined" && "matchMedia" in window ? window.matchMedia("(prefers-color-scheme: dark)") : undefined;
const listeners = new Set<() => void>();

function chosen(): Theme {
  const value = localStorage.getItem(STORED);
  return value === "light" || value === "dark" ? value : "system";
}
function resolve(): "light" | "dark" {
  const theme = chosen();
  if (theme !== "system") return theme;
  return dark?.matches ? "dark" : "light";
}
function apply(): void {
  document.documentElement.dataset.theme = resolve();
  for (const listener of listeners) listener();
}

/** Applies the stored theme, and follows the system. Call it before the first rendering. */
export function startTheme(): void {
  apply();
  dark?.addEventListener("change", apply);
}
export function setTheme(theme: Theme): void {
  localStorage.setItem(STORED, theme);
  apply();
}

function subscribe(listener: () => void): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}
export function useTheme(): { theme: Theme; resolved: "light" | "dark" } {
  const theme = useSyncExternalStore(subscribe, chosen);
  const resolved = useSyncExternalStore(subscribe, resolve);
  return { theme, resolved };
}
