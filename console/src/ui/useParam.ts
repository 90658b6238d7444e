import { useCallback } from "react";
import { useSearch } from "wouter";

/** A value in the query of the URL. Setting the default removes it. `push` adds an entry to the history. */
export function useParam(name: string, fallback = ""): [string, (value: string, push?: boolean) => void] {
  useSearch(); // renders again when the query changes
  const set = useCallback(
    (value: string, push = false) => {
      // The query of the window and not that of the last rendering: several parameters can be set before the next one.
      const next = new URLSearchParams(window.location.search);
      if (value === fallback) next.delete(name);
      else next.set(name, value);
      const query = next.toString();
      window.history[push ? "pushState" : "replaceState"](null, "", `${window.location.pathname}${query && `?${query}`}`);
    },
    [name, fallback],
  );
  return [new URLSearchParams(window.location.search).get(name) ?? fallback, set];
}
