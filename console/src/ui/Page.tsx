import { useEffect, type ReactNode } from "react";
import { s } from "../strings";

interface Props {
  title: string;
  actions?: ReactNode;
  /** The page has the height of the window, and its content scrolls. */
  full?: boolean;
  children: ReactNode;
}

/** The frame of a page: its heading, the actions, and the title of the document. */
export function Page({ title, actions, full, children }: Props) {
  useEffect(() => {
    document.title = `${title} · ${s.shell.product}`;
  }, [title]);
  return (
    <div className={`page${full ? " full" : ""}`}>
      <div className="page-head">
        <h1>{title}</h1>
        {actions && <div className="row">{actions}</div>}
      </div>
      {children}
    </div>
  );
}

/** A titled area. */
export function Panel({ title, actions, children, className }: { title: string; actions?: ReactNode; children: ReactNode; className?: string }) {
  return (
    <section className={`panel ${className ?? ""}`} aria-label={title}>
      <div className="panel-head">
        <h2>{title}</h2>
        {actions}
      </div>
      {children}
    </section>
  );
}
