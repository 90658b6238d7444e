// Completion of YAML definitions from the served JSON Schema. It reads indentation, and not YAML: half-written text
// must work.
import type { Completion } from "../../ui";

interface Schema {
  $ref?: string;
  type?: string | string[];
  description?: string;
  default?: unknown;
  enum?: unknown[];
  const?: unknown;
  examples?: unknown[];
  properties?: Record<string, Schema>;
  required?: string[];
  additionalProperties?: boolean | Schema;
  items?: Schema;
  oneOf?: Schema[];
  anyOf?: Schema[];
  allOf?: Schema[];
  definitions?: Record<string, Schema>;
}
export type { Schema as DefinitionSchema };

interface Place {
  /** Keys from the root. `[]` is an element of a list. */
  path: string[];
  /** The key whose value is written, if the place is after a colon. */
  key: string | undefined;
  /** The keys that the mapping has already. */
  taken: Set<string>;
}

interface ParsedLine {
  column: number;
  dash: number | undefined;
  key: string | undefined;
  value: string;
}

function parseLine(line: string): ParsedLine | undefined {
  if (/^\s*(#.*)?$/.test(line)) return undefined;
  const match = /^(\s*)((?:-\s+)*)(?:(["']?)([\w$-]+)\3\s*:(?:\s+|$))?(.*)$/.exec(line);
  if (!match) return undefined;
  const [, lead = "", dashes = "", , key, value = ""] = match;
  const lastDash = dashes.lastIndexOf("-");
  return {
    column: lead.length + dashes.length,
    dash: lastDash < 0 ? undefined : lead.length + lastDash,
    key,
    value: value.replace(/(^|\s)#.*$/, "").trim(),
  };
}

/** Where `position` is in the structure of the text. */
export function placeAt(text: string, position: number): Place {
  const before = text.slice(0, position).split("\n");
  const current = before.at(-1) ?? "";
  const inline = /([\w$-]+)\s*:\s*\{([^{}]*)$/.exec(current);
  const own = parseLine(current) ?? { column: current.length, dash: undefined, key: undefined, value: "" };
  const path: string[] = [];
  let column = own.column;
  let dash = /^\s*-\s*$/.test(current) ? current.indexOf("-") : own.dash;
  if (dash !== undefined && column <= dash) column = dash + 2;
  for (let at = before.length - 2; at >= 0; at -= 1) {
    const line = parseLine(before[at] ?? "");
    if (!line) continue;
    if (dash === undefined && line.column === column && line.dash !== undefined) dash = line.dash;
    else if (line.key !== undefined && line.value === "" && (dash === undefined ? line.column < column : line.column <= dash)) {
      path.unshift(...(dash === undefined ? [line.key] : [line.key, "[]"]));
      column = line.column;
      dash = line.dash;
    } else if (dash === undefined && line.column < column && line.dash !== undefined) dash = line.dash;
  }
  if (inline) {
    const parts = (inline[2] ?? "").split(",");
    const last = /^\s*([\w$-]+)\s*:\s/.exec(parts.at(-1) ?? "");
    const taken = new Set(parts.slice(0, -1).map((part) => part.split(":")[0]?.trim() ?? ""));
    return { path: [...path, inline[1] ?? ""], key: last?.[1], taken };
  }
  const inValue = own.key !== undefined && /:\s+[^\s].*$|:\s+$/.test(current);
  return { path, key: inValue ? own.key : undefined, taken: siblings(text, before.length - 1, own.column) };
}

/** The other keys of the mapping at a column around a line. */
function siblings(text: string, line: number, column: number): Set<string> {
  const lines = text.split("\n");
  const keys = new Set<string>();
  const collect = (from: number, step: 1 | -1) => {
    for (let at = from; at >= 0 && at < lines.length; at += step) {
      const parsed = parseLine(lines[at] ?? "");
      if (!parsed || parsed.column > column) continue;
      if (parsed.column < column) return;
      if (step === 1 && parsed.dash !== undefined) return;
      if (parsed.key) keys.add(parsed.key);
      if (step === -1 && parsed.dash !== undefined) return;
    }
  };
  if (parseLine(lines[line] ?? "")?.dash === undefined) collect(line - 1, -1);
  collect(line + 1, 1);
  return keys;
}

/** The schemas that a value at a place may have: all alternatives of `oneOf`, `anyOf` and `allOf`. */
function alternatives(schema: Schema | boolean | undefined, root: Schema, depth = 0): Schema[] {
  if (typeof schema !== "object" || depth > 8) return [];
  const referred = schema.$ref ? alternatives(root.definitions?.[schema.$ref.split("/").at(-1) ?? ""], root, depth + 1) : [];
  const parts = [...(schema.oneOf ?? []), ...(schema.anyOf ?? []), ...(schema.allOf ?? [])];
  return [schema, ...referred, ...parts.flatMap((part) => alternatives(part, root, depth + 1))];
}

function descend(schemas: readonly Schema[], key: string, root: Schema): Schema[] {
  return schemas.flatMap((schema) => {
    if (key === "[]") return alternatives(schema.items, root);
    const property = schema.properties?.[key];
    return alternatives(property ?? schema.additionalProperties, root);
  });
}

const first = (text: string | undefined) => text?.split(/(?<=\.)\s/)[0] ?? "";

/** The completions at a position: keys of the mapping, or values of the key. */
export function completions(root: Schema, text: string, position: number): Completion[] {
  const place = placeAt(text, position);
  const schemas = place.path.reduce<Schema[]>((at, key) => descend(at, key, root), alternatives(root, root));
  if (place.key !== undefined || place.path.at(-1) === "depends_on") return values(schemas, place, text, root);
  const found = new Map<string, Completion>();
  for (const schema of schemas) {
    for (const [name, property] of Object.entries(schema.properties ?? {})) {
      if (found.has(name) || place.taken.has(name)) continue;
      const [own, ...rest] = alternatives(property, root);
      const description = own?.description ?? rest.find((each) => each.description)?.description;
      const required = schema.required?.includes(name);
      found.set(name, { label: name, apply: `${name}: `, detail: required ? "required" : "", info: first(description) });
    }
  }
  return [...found.values()];
}

function values(schemas: readonly Schema[], place: Place, text: string, root: Schema): Completion[] {
  const key = place.key ?? "depends_on";
  if (key === "depends_on") {
    return [...text.matchAll(/^\s*-\s+name:\s*([a-z][a-z0-9_]*)/gm)].map((match) => ({ label: match[1] ?? "", detail: "step" }));
  }
  const found = new Map<string, Completion>();
  const add = (value: unknown, detail: string) => {
    if (value === null || typeof value === "object") return;
    const label = String(value);
    if (!found.has(label)) found.set(label, { label, detail });
  };
  const own = descend(schemas, key, root);
  for (const schema of own) {
    for (const value of schema.enum ?? []) add(value, "");
    if ("const" in schema) add(schema.const, "");
    if ([schema.type].flat().includes("boolean")) for (const value of [true, false]) add(value, "");
  }
  for (const schema of own) {
    if ("default" in schema) add(schema.default, "default");
    for (const value of schema.examples ?? []) add(value, "example");
  }
  return [...found.values()];
}
