// Drafts of the editor. They are kept in the tab, so that a reload or another page loses nothing.
import { currentNamespace } from "../../api/session";

const key = (name: string) => `goconductor.draft.${currentNamespace()}.${name}`;

export function storedDraft(name: string): string | undefined {
  return sessionStorage.getItem(key(name)) ?? undefined;
}

/** Keeps a draft, or removes it. A browser without space keeps none, and the editor continues. */
export function storeDraft(name: string, draft: string | undefined): void {
  try {
    if (draft === undefined) sessionStorage.removeItem(key(name));
    else sessionStorage.setItem(key(name), draft);
  } catch {
    // The quota is exceeded.
  }
}

/** The name of the definition in a text, or undefined if it has none that is valid. */
export function nameIn(text: string, language: "yaml" | "json"): string | undefined {
  const match = language === "json" ? /"workflow"\s*:\s*"([^"]*)"/.exec(text) : /^workflow:\s*(["']?)([^"'\s#]+)\1\s*(?:#.*)?$/m.exec(text);
  const name = language === "json" ? match?.[1] : match?.[2];
  return name !== undefined && name.length <= 63 && /^[a-z0-9](?:[a-z0-9]|-+[a-z0-9])*$/.test(name) ? name : undefined;
}

export const TEMPLATE = `# A saga: each step says how it is undone.
workflow: my-workflow
title: My workflow

# JSON Schema of the input. The start form follows it.
input:
  type: object
  required: [order_id]
  properties:
    order_id: { type: string, minLength: 1 }

steps:
  - name: reserve
    run: inventory/reserve
    compensate: inventory/release

  - name: charge
    run: payments/charge
    compensate: payments/refund
`;
