import type { StepNode } from "../../graph/model";

/** A block of the definition, or a step. */
export type TreeItem = { block: string; items: TreeItem[] } | { step: StepNode };

/** Nests steps in their blocks, in the order of the definition. */
export function stepTree(nodes: readonly StepNode[]): TreeItem[] {
  const root: TreeItem[] = [];
  for (const step of nodes) {
    let items = root;
    for (const block of step.blocks) {
      const last = items.at(-1);
      if (last && "block" in last && last.block === block) items = last.items;
      else {
        const next = { block, items: [] as TreeItem[] };
        items.push(next);
        items = next.items;
      }
    }
    items.push({ step });
  }
  return root;
}
