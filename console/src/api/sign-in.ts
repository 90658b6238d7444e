// Signing in and out, in all windows of the browser.
import { api, data } from "./client";
import { ROOT } from "./session";
import type { Session } from "./types";

const CHANNEL = "goconductor.session";
const CSRF = { "GoConductor-Csrf": "1" };
const RETURN = "goconductor.return_to";
export const SIGN_IN_PATH = "/sign-in";
/** Where a window that was opened to sign in ends. */
export const POPUP_RETURN = `${ROOT}${SIGN_IN_PATH}?popup=1`;

export async function signIn(key: string): Promise<Session> {
  const session = await data(api.POST("/api/v1/session", { params: { header: CSRF }, body: { value: key } })) as Session;
  announce();
  return session;
}

export async function signOut(): Promise<void> {
  await data(api.DELETE("/api/v1/session"));
  announce();
}

/** The address that begins a sign-in at the identity provider. The browser navigates to it. */
export function oidcStart(returnTo: string): string {
  return `/api/v1/session/oidc/start?return_to=${encodeURIComponent(returnTo)}`;
}

/** Whether a path belongs to the console, so that the server accepts it as the end of a sign-in. */
export function isReturnPath(path: string): boolean {
  return /^\/ui(?:[/?#]|$)/.test(path) && !path.includes("\\");
}

/** The page to return to. It survives an error of the identity provider, which ends at the sign-in page. */
export function rememberReturn(path: string): void {
  sessionStorage.setItem(RETURN, path);
}
export function takeReturn(): string {
  const path = sessionStorage.getItem(RETURN) ?? "";
  sessionStorage.removeItem(RETURN);
  return isReturnPath(path) ? path : `${ROOT}/`;
}
export function peekReturn(): string {
  const path = sessionStorage.getItem(RETURN) ?? "";
  return isReturnPath(path) ? path : `${ROOT}/`;
}

/** Notifies the other windows that the session has changed. */
export function announce(): void {
  const channel = new BroadcastChannel(CHANNEL);
  channel.postMessage("changed");
  channel.close();
}

export function onAnnounced(listener: () => void): () => void {
  const channel = new BroadcastChannel(CHANNEL);
  channel.onmessage = listener;
  return () => channel.close();
}

const signedIn = new Set<() => void>();
/** Calls `listener` when the caller has signed in again. */
export function onSignedInAgain(listener: () => void): () => void {
  signedIn.add(listener);
  return () => signedIn.delete(listener);
}
export function notifySignedInAgain(): void {
  for (const listener of signedIn) listener();
}
