import { isRawNumber } from "../api/json";

export interface JsonLine {
  /** A JSON pointer. */
  path: string;
  depth: number;
  /** The field's name, or the index in a list. */
  key: string | undefined;
  value: unknown;
  /** For objects and lists: the number of entries. */
  size: number | undefined;
  open: boolean;
}

function isContainer(value: unknown): value is Record<string, unknown> | unknown[] {
  return typeof value === "object" && value !== null && !isRawNumber(value);
}

function entriesOf(value: Record<string, unknown> | unknown[]): [string, unknown][] {
  return Array.isArray(value) ? value.map((item, index) => [String(index), item]) : Object.entries(value);
}

const escape = (key: string) => key.replaceAll("~", "~0").replaceAll("/", "~1");

/** The visible lines of a value. `isOpen` decides which objects and lists are expanded. */
export function flatten(root: unknown, isOpen: (path: string, depth: number) => boolean): JsonLine[] {
  const lines: JsonLine[] = [];
  const visit = (value: unknown, path: string, depth: number, key: string | undefined) => {
    const container = isContainer(value);
    const entries = container ? entriesOf(value) : [];
    const open = container && entries.length > 0 && isOpen(path, depth);
    lines.push({ path, depth, key, value, size: container ? entries.length : undefined, open });
    if (open) for (const [name, item] of entries) visit(item, `${path}/${escape(name)}`, depth + 1, name);
  };
  visit(root, "", 0, undefined);
  return lines;
}

/** Pointers of the values whose name or text contains `text`, and of everything that encloses them. */
export function findMatches(root: unknown, text: string): { matches: Set<string>; open: Set<string> } {
  const [matches, open] = [new Set<string>(), new Set<string>()];
  const wanted = text.toLowerCase();
  const visit = (value: unknown, path: string, key: string): boolean => {
    let found = key.toLowerCase().includes(wanted);
    if (isContainer(value)) {
      let inside = false;
      for (const [name, item] of entriesOf(value)) inside = visit(item, `${path}/${escape(name)}`, name) || inside;
      if (inside) open.add(path);
      if (found) matches.add(path);
      return found || inside;
    }
    found ||= scalarText(value).toLowerCase().includes(wanted);
    if (found) matches.add(path);
    return found;
  };
  if (wanted !== "") visit(root, "", "");
  return { matches, open };
}

export function scalarText(value: unknown): string {
  if (isRawNumber(value)) return value.rawJSON;
  return JSON.stringify(value) ?? "null";
}

export interface Difference {
  path: string;
  kind: "added" | "removed" | "changed";
  before?: unknown;
  after?: unknown;
}

/** The differences of two values, by JSON pointer. */
export function diffJson(before: unknown, after: unknown, path = ""): Difference[] {
  if (isContainer(before) && isContainer(after) && Array.isArray(before) === Array.isArray(after)) {
    const [old, now] = [new Map(entriesOf(before)), new Map(entriesOf(after))];
    return [...new Set([...old.keys(), ...now.keys()])].flatMap((key): Difference[] => {
      const at = `${path}/${escape(key)}`;
      if (!now.has(key)) return [{ path: at, kind: "removed", before: old.get(key) }];
      if (!old.has(key)) return [{ path: at, kind: "added", after: now.get(key) }];
      return diffJson(old.get(key), now.get(key), at);
    });
  }
  return scalarText(before) === scalarText(after) ? [] : [{ path, kind: "changed", before, after }];
}
