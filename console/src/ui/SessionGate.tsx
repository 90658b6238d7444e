import { useQueryClient } from "@tanstack/react-query";
import { lazy, Suspense, useEffect, useRef, type ReactNode } from "react";
import { useLocation } from "wouter";
import { useSession } from "../api/access";
import { keys } from "../api/keys";
import { notifySignedInAgain, onAnnounced, SIGN_IN_PATH } from "../api/sign-in";
import { Loading } from "./States";

const SignInPage = lazy(() => import("../pages/sign-in/sign-in"));
const SignInAgain = lazy(() => import("../pages/sign-in/again"));
/** The longest delay of a timer of the browser. */
const MAX_TIMER_MS = 2 ** 31 - 1;

/**
 * Shows the console to a caller who is signed in, and the sign-in page to others. When a session ends, the page stays and a
 * dialog asks for another sign-in.
 */
export function SessionGate({ children }: { children: ReactNode }) {
  const session = useSession();
  const client = useQueryClient();
  const [location] = useLocation();
  const atSignIn = location === SIGN_IN_PATH;
  const entered = useRef(false);
  const view = session.data;
  const outside = view !== undefined && view !== null && view.access_control && !view.signed_in;
  const known = !session.isPending && !outside;
  const expiresAt = view?.signed_in ? view.expires_at : null;
  useEffect(() => onAnnounced(() => void client.invalidateQueries({ queryKey: keys.session() })), [client]);
  useEffect(() => {
    if (!expiresAt) return;
    const left = Date.parse(expiresAt) - Date.now();
    if (left > MAX_TIMER_MS) return;
    const timer = setTimeout(() => void client.invalidateQueries({ queryKey: keys.session() }), Math.max(0, left) + 500);
    return () => clearTimeout(timer);
  }, [expiresAt, client]);
  useEffect(() => {
    if (!known || atSignIn) return;
    if (entered.current) {
      notifySignedInAgain();
      void client.invalidateQueries({ predicate: (query) => query.queryKey[1] !== "session" });
    }
    entered.current = true;
  }, [known, atSignIn, client]);
  if (session.isPending) return <Loading lines={3} />;
  if (atSignIn || (outside && !entered.current)) {
    return <Suspense fallback={<Loading lines={3} />}><SignInPage session={view ?? undefined} /></Suspense>;
  }
  return (
    <>
      {children}
      {outside && <Suspense fallback={null}><SignInAgain session={view} /></Suspense>}
    </>
  );
}
