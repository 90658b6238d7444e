// The parts that the pages about the system share.
import { useMutation, useQueryClient } from "@tanstack/react-query";
import { Fragment, useEffect, useRef, useState, type ReactNode } from "react";
import { s } from "../../strings";
import { Button, Dialog, ErrorState, Loading, Panel, ProblemBox, showToast } from "../../ui";
import "./system.css";

/** Names and values. Values that are null or undefined are left out. */
export function Facts({ items }: { items: readonly (readonly [string, ReactNode])[] }) {
  return (
    <dl className="facts">
      {items.map(([name, value]) => value !== null && value !== undefined && value !== false && value !== "" && (
        <Fragment key={name}><dt>{name}</dt><dd>{value}</dd></Fragment>
      ))}
    </dl>
  );
}

/** A list with the details of the chosen row beside it. */
export function Split({ children, detail }: { children: ReactNode; detail?: ReactNode }) {
  return <div className={`split${detail ? " open" : ""}`}><div className="stack">{children}</div>{detail}</div>;
}

/** The details of a row. A row that was opened by a person moves the focus here; Escape closes and returns it. */
export function Detail({ title, onClose, actions, children }: { title: string; onClose: () => void; actions?: ReactNode; children: ReactNode }) {
  const place = useRef<HTMLDivElement>(null);
  const close = useRef(onClose);
  useEffect(() => {
    close.current = onClose;
  });
  useEffect(() => {
    const opener = document.activeElement instanceof HTMLElement && document.activeElement.role === "row" ? document.activeElement : undefined;
    if (opener) {
      place.current?.focus({ preventScroll: true });
      place.current?.scrollIntoView({ block: "nearest" });
    }
    const keys = (event: KeyboardEvent) => {
      if (event.key !== "Escape" || document.querySelector("dialog[open], [popover]:popover-open")) return;
      close.current();
      if (opener?.isConnected) opener.focus();
    };
    document.addEventListener("keydown", keys);
    return () => document.removeEventListener("keydown", keys);
  }, []);
  return (
    <div ref={place} tabIndex={-1} className="detail-focus">
      <Panel title={title} className="detail" actions={<Button tone="plain" small icon="cross" label={s.system.closeDetail} onClick={onClose} />}>
        <div className="panel-body stack">
          {actions && <div className="row">{actions}</div>}
          {children}
        </div>
      </Panel>
    </div>
  );
}

interface Query {
  isPending: boolean;
  isError: boolean;
  data: unknown;
  error: unknown;
  refetch: () => unknown;
}

/** The loading or error state of a list, or its content. */
export function ListState({ query, lines = 6, children }: { query: Query; lines?: number; children: ReactNode }) {
  if (query.data !== undefined) return <>{children}</>;
  if (query.isError) return <ErrorState error={query.error} onRetry={() => void query.refetch()} />;
  return <Loading lines={lines} />;
}

interface FormProps<T> {
  title: string;
  verb: string;
  onClose: () => void;
  run: () => Promise<T>;
  /** Why the form cannot be sent yet. It is shown after the first attempt. */
  problem?: string | undefined;
  done?: string;
  onDone?: (result: T) => void;
  refresh?: readonly (readonly unknown[])[];
  wide?: boolean;
  children: ReactNode;
}

/** A dialog with fields for a change. It stays open after an error. */
export function FormDialog<T>({ title, verb, onClose, run, problem, done, onDone, refresh, wide, children }: FormProps<T>) {
  const client = useQueryClient();
  const [tried, setTried] = useState(false);
  const change = useMutation({
    mutationFn: run,
    onSuccess: async (result) => {
      onClose();
      onDone?.(result);
      if (done) showToast({ tone: "good", text: done });
      await Promise.all((refresh ?? []).map((queryKey) => client.invalidateQueries({ queryKey })));
    },
  });
  const submit = () => {
    setTried(true);
    if (!problem && !change.isPending) change.mutate();
  };
  return (
    <Dialog title={title} onClose={onClose} onSubmit={submit} wide={wide ?? false}
      foot={
        <>
          <Button onClick={onClose}>{s.common.cancel}</Button>
          <Button type="submit" tone="primary" disabled={change.isPending}>{verb}</Button>
        </>
      }>
      {children}
      {tried && problem && <p className="form-problem" role="alert">{problem}</p>}
      {change.isError && <ProblemBox error={change.error} />}
    </Dialog>
  );
}

/** A field that narrows the rows of a loaded list. */
export function Narrow({ value, onChange }: { value: string; onChange: (value: string) => void }) {
  return (
    <div className="narrow-field">
      <input className="input" aria-label={s.system.narrow} placeholder={s.system.narrow} type="search" value={value} onChange={(event) => onChange(event.target.value)} />
    </div>
  );
}
