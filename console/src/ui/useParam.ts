import { useCallback } from "react";
import { useSearchParams } from "wouter";

/** A value in the query of the URL. Setting the default removes it. `push` adds an entry to the history. */
export function useParam(name: string, fallback = ""): [string, (value: string, push?: boolean) => void] {
  const [params, setParams] = useSearchParams();
  const set = useCallback(
    (value: string, push = false) => {
      setParams(
        (old) => {
          const next = new URLSearchParams(old);
          if (value === fallback) next.delete(name);
          else next.set(name, value);
          return next;
        },
        { replace: !push },
      );
    },
    [setParams, name, fallback],
  );
  return [params.get(name) ?? fallback, set];
}
