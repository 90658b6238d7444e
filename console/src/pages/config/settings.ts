// The settings of the configuration, from its JSON Schema.

export interface Schema {
  properties?: Record<string, Schema>;
  additionalProperties?: Schema | boolean;
  anyOf?: readonly Schema[];
  type?: string | readonly string[];
  enum?: readonly unknown[];
  items?: Schema;
  pattern?: string;
  minimum?: number;
  maximum?: number;
  default?: unknown;
  description?: string;
  $ref?: string;
  "x-apply"?: string;
}

export interface Setting {
  /** Dotted path, such as `limits.page_size`. */
  path: string;
  apply: string;
  description: string;
  defaultValue: unknown;
  form: string;
}

const isObject = (value: unknown): value is Record<string, unknown> => typeof value === "object" && value !== null && !Array.isArray(value);

/** All settings of a schema, by path. A section whose names are free is one setting. */
export function settingsOf(schema: Schema, prefix = ""): Setting[] {
  return Object.entries(schema.properties ?? {}).flatMap(([name, each]) => {
    const path = prefix === "" ? name : `${prefix}.${name}`;
    if (each.properties) return settingsOf(each, path);
    return [{ path, apply: applyOf(each), description: each.description ?? "", defaultValue: each.default, form: formOf(each) }];
  });
}

function applyOf(schema: Schema): string {
  if (schema["x-apply"]) return schema["x-apply"];
  const inner = isObject(schema.additionalProperties) ? (schema.additionalProperties as Schema) : undefined;
  if (!inner) return "live";
  if (inner["x-apply"]) return inner["x-apply"];
  const first = Object.values(inner.properties ?? {})[0];
  return first ? applyOf(first) : "live";
}

/** A short text about the values of a setting. */
export function formOf(schema: Schema): string {
  if (schema.$ref) return "reference";
  if (schema.anyOf) return schema.anyOf.map(formOf).join(" or ");
  if (schema.enum) return schema.enum.map(String).join(", ");
  const type = Array.isArray(schema.type) ? schema.type.find((each) => each !== "null") : schema.type;
  if (type === "integer" && schema.minimum !== undefined && schema.maximum !== undefined) return `integer from ${schema.minimum} to ${schema.maximum}`;
  if (type === "array") return `list of ${schema.items ? formOf(schema.items) : "values"}`;
  if (type === "object") return "names and values";
  if (type === "string" && schema.pattern?.includes("ms|s|m|h|d")) return "duration, such as 5s";
  return String(type ?? "any");
}

/** The value at a dotted path, or undefined. */
export function valueAt(settings: unknown, path: string): unknown {
  return path.split(".").reduce<unknown>((value, name) => (isObject(value) ? value[name] : undefined), settings);
}

/** The merge patch that sets a value at a dotted path. `null` removes it. */
export function patchOf(path: string, value: unknown): Record<string, unknown> {
  const names = path.split(".");
  return names.reduceRight<unknown>((inner, name) => ({ [name]: inner }), value) as Record<string, unknown>;
}

/** A value as text for a person. */
export function show(value: unknown): string {
  if (value === undefined || value === null) return "";
  return typeof value === "string" ? value : JSON.stringify(value);
}

/** Reads what a person typed: JSON if it is JSON, text otherwise. */
export function read(text: string): unknown {
  const trimmed = text.trim();
  try {
    return JSON.parse(trimmed) as unknown;
  } catch {
    return trimmed;
  }
}

/** The names of the objects that enclose an offset in a JSON text. */
export function pathAt(text: string, offset: number): string[] {
  const path: (string | undefined)[] = [];
  let key: string | undefined;
  for (const match of text.slice(0, offset).matchAll(/"((?:[^"\\]|\\.)*)"\s*(:)?|[{}[\],]/g)) {
    const [token, name, colon] = match;
    if (token === "{" || token === "[") path.push(key);
    else if (token === "}" || token === "]") path.pop();
    else if (colon) key = name;
    if (token === ",") key = undefined;
  }
  return path.slice(1).map((each) => each ?? "");
}

/** The names that can be set at an offset of a document. */
export function namesAt(schema: Schema, text: string, offset: number): { name: string; schema: Schema }[] {
  let at: Schema | undefined = schema;
  for (const name of pathAt(text, offset)) {
    at = at?.properties?.[name] ?? (isObject(at?.additionalProperties) ? (at.additionalProperties as Schema) : undefined);
  }
  return Object.entries(at?.properties ?? {}).map(([name, each]) => ({ name, schema: each }));
}

/** The line and column, from 1, of a JSON pointer or a dotted path in a JSON text: the name of its last part. */
export function placeOf(text: string, pointer: string): { line: number; column: number } {
  const names = pointer.startsWith("/") ? pointer.slice(1).split("/").map((name) => name.replaceAll("~1", "/").replaceAll("~0", "~")) : pointer.split(".");
  let at = 0;
  for (const name of names) {
    const found = text.indexOf(JSON.stringify(name), at);
    if (found < 0) break;
    at = found;
  }
  const before = text.slice(0, at);
  return { line: before.split("\n").length, column: at - before.lastIndexOf("\n") };
}
