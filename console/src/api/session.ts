// The namespace of the page, from its URL: `/ui/ns/{namespace}/…`, or the default namespace with `/ui/…`.
import { storedTexts } from "./stored";

export const DEFAULT_NAMESPACE = "default";
/** Where the gateway serves the console. */
export const ROOT = "/ui";
const PREFIX = /^\/ui\/ns\/([^/]+)/;
const RECENT = "goconductor.namespaces";
const MAX_RECENT = 12;
const DEFAULT_HUE = 210;

export function namespaceOf(path: string): string {
  const name = PREFIX.exec(path)?.[1];
  return name === undefined ? DEFAULT_NAMESPACE : decodeURIComponent(name);
}

/** The prefix of all paths of a namespace: the base of the router. */
export function baseOf(namespace: string): string {
  return namespace === DEFAULT_NAMESPACE ? ROOT : `${ROOT}/ns/${encodeURIComponent(namespace)}`;
}

export function currentNamespace(): string {
  return namespaceOf(window.location.pathname);
}

export function recentNamespaces(): string[] {
  return [...new Set([DEFAULT_NAMESPACE, ...(storedTexts(RECENT) ?? [])])];
}

export function rememberNamespace(namespace: string): void {
  const names = [namespace, ...recentNamespaces().filter((name) => name !== namespace)].slice(0, MAX_RECENT);
  localStorage.setItem(RECENT, JSON.stringify(names));
}

/** The hue of a namespace, in degrees. The same name always has the same colour. */
export function namespaceHue(namespace: string): number {
  let hash = 0;
  for (const char of namespace) hash = (hash * 31 + (char.codePointAt(0) ?? 0)) >>> 0;
  if (namespace === DEFAULT_NAMESPACE) return DEFAULT_HUE;
  // The hues are 15 degrees apart. The one of the default namespace is left out.
  const hue = (hash % 23) * 15;
  return hue < DEFAULT_HUE ? hue : hue + 15;
}

type Listener = () => void;
const unauthorized = new Set<Listener>();

/** Calls `listener` when a response says that the caller must sign in. Returns the function that unsubscribes. */
export function onUnauthorized(listener: Listener): () => void {
  unauthorized.add(listener);
  return () => unauthorized.delete(listener);
}

export function notifyUnauthorized(): void {
  for (const listener of unauthorized) listener();
}
