import { useEffect, type ReactNode } from "react";
import { s } from "../strings";

interface Props {
  title: string;
  /** The part next to the heading, such as a status. */
  mark?: ReactNode;
  /** The title of the document, if the heading alone does not identify the page. */
  documentTitle?: string;
  actions?: ReactNode;
  /** The page has the height of the window, and its content scrolls. */
  full?: boolean;
  children: ReactNode;
}

/** The frame of a page: its heading, the actions, and the title of the document. */
export function Page({ title, mark, documentTitle = title, actions, full, children }: Props) {
  useEffect(() => {
    document.title = `${documentTitle} · ${s.shell.product}`;
  }, [documentTitle]);
  return (
    <div className={`page${full ? " full" : ""}`}>
      <div className="page-head">
        <div className="row"><h1>{title}</h1>{mark}</div>
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
