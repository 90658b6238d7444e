import { useEffect, useRef } from "react";

const typing = (target: EventTarget | null) =>
  target instanceof HTMLElement && (target.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName) || target.shadowRoot !== null);

const LEADER_MS = 1_000;
const bindings = new Map<string, (() => void)[]>();
let leader = 0;

function dispatch(event: KeyboardEvent): void {
  const combined = event.ctrlKey || event.metaKey;
  if (event.altKey || (combined ? event.key !== "k" : typing(event.target) || document.querySelector("dialog[open]"))) return;
  const key = combined ? "mod+k" : Date.now() - leader < LEADER_MS ? `g ${event.key}` : event.key;
  leader = !combined && event.key === "g" && key === "g" ? Date.now() : 0;
  const run = bindings.get(key)?.at(-1);
  if (!run) return;
  event.preventDefault();
  run();
}

/** Binds a key (`?`, `/`, `mod+k`, or `g w` for two keys) while the component is mounted. The newest binding wins. */
export function useShortcut(key: string, run: () => void): void {
  const latest = useRef(run);
  useEffect(() => {
    latest.current = run;
  });
  useEffect(() => {
    if (bindings.size === 0) document.addEventListener("keydown", dispatch);
    const call = () => latest.current();
    bindings.set(key, [...(bindings.get(key) ?? []), call]);
    return () => {
      const left = (bindings.get(key) ?? []).filter((each) => each !== call);
      if (left.length > 0) bindings.set(key, left);
      else bindings.delete(key);
      if (bindings.size === 0) document.removeEventListener("keydown", dispatch);
    };
  }, [key]);
}
