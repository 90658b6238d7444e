import type { ReactNode } from "react";
import { Link } from "wouter";
import { pageExists } from "../routes";

/** A link to a page, if the console has it: `<PageLink page="/workflows/:id" to={`/workflows/${id}`}>`. Otherwise text. */
export function PageLink({ page, to, children, className }: { page: string; to: string; children: ReactNode; className?: string }) {
  if (!pageExists(page)) return <span className={className}>{children}</span>;
  return <Link href={to} className={className ?? ""}>{children}</Link>;
}
