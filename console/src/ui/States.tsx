import type { UseQueryResult } from "@tanstack/react-query";
import { Component, type ReactNode } from "react";
import { s } from "../strings";
import { Button } from "./Button";
import { ProblemBox } from "./ProblemBox";

export function Empty({ title, hint, children }: { title: string; hint?: string; children?: ReactNode }) {
  return (
    <div className="state">
      <h2>{title}</h2>
      {hint && <p>{hint}</p>}
      {children}
    </div>
  );
}

/** Placeholder lines for content that is loading. */
export function Loading({ lines = 5 }: { lines?: number }) {
  return (
    <div className="panel-body stack" role="status" aria-label={s.common.loading}>
      {Array.from({ length: lines }, (_, index) => (
        <div key={index} className="skeleton" style={{ width: `${90 - ((index * 23) % 45)}%` }} />
      ))}
    </div>
  );
}

export function ErrorState({ error, onRetry }: { error: unknown; onRetry?: () => void }) {
  return (
    <div className="panel-body stack">
      <ProblemBox error={error} />
      {onRetry && <div><Button icon="retry" onClick={onRetry}>{s.common.retry}</Button></div>}
    </div>
  );
}

/** Shows the data of a query, or its loading or error state. Data that was loaded stays visible after an error. */
export function Loaded<T>({ query, lines, children }: { query: UseQueryResult<T>; lines?: number; children: (data: T) => ReactNode }) {
  if (query.data !== undefined) return <>{children(query.data)}</>;
  if (query.isError) return <ErrorState error={query.error} onRetry={() => void query.refetch()} />;
  return <Loading {...(lines === undefined ? {} : { lines })} />;
}

/** Shows a failure of the console itself. Change `key` to reset it. */
export class ErrorBoundary extends Component<{ children: ReactNode }, { error?: unknown }> {
  override state: { error?: unknown } = {};
  static getDerivedStateFromError(error: unknown) {
    return { error };
  }
  override render() {
    if (this.state.error === undefined) return this.props.children;
    return (
      <div className="page">
        <ProblemBox error={this.state.error} />
        <p className="muted">{s.errors.consoleHint}</p>
        <div><Button icon="retry" onClick={() => window.location.reload()}>{s.errors.reload}</Button></div>
      </div>
    );
  }
}
