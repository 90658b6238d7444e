// The part of JSON Schema that a form can show, and the checks before sending. The server checks everything again.
import { isRawNumber } from "../../api/json";
import { s } from "../../strings";

const text = s.start;

export interface Schema {
  $ref?: string;
  type?: string | string[];
  title?: string;
  description?: string;
  default?: unknown;
  examples?: unknown[];
  enum?: unknown[];
  const?: unknown;
  properties?: Record<string, Schema>;
  required?: string[];
  additionalProperties?: boolean | Schema;
  items?: Schema | boolean;
  prefixItems?: Schema[];
  oneOf?: Schema[];
  anyOf?: Schema[];
  allOf?: Schema[];
  minItems?: number;
  maxItems?: number;
  minLength?: number;
  maxLength?: number;
  pattern?: string;
  format?: string;
  minimum?: number;
  maximum?: number;
  exclusiveMinimum?: number;
  exclusiveMaximum?: number;
  multipleOf?: number;
  [key: string]: unknown;
}

export type Json = unknown;
export type JsonObject = Record<string, unknown>;
export const isObject = (value: unknown): value is JsonObject =>
  typeof value === "object" && value !== null && !Array.isArray(value) && !isRawNumber(value);

const MAX_DEPTH = 12;
type Kind = "string" | "number" | "integer" | "boolean" | "object" | "array" | "enum" | "const" | "choice" | "null" | "any";

/** Follows local references and joins `allOf`. A reference without a target, or in a circle, allows anything. */
export function resolve(schema: Schema | boolean | undefined, root: Schema, depth = 0): Schema {
  if (typeof schema !== "object" || schema === null || depth > MAX_DEPTH) return {};
  if (typeof schema.$ref === "string") {
    const { $ref, ...rest } = schema;
    return { ...resolve(lookup($ref, root), root, depth + 1), ...rest };
  }
  if (!Array.isArray(schema.allOf)) return schema;
  const { allOf, ...rest } = schema;
  return allOf.map((part) => resolve(part, root, depth + 1)).reduce<Schema>((joined, part) => ({
    ...joined, ...part,
    ...((joined.properties || part.properties) && { properties: { ...joined.properties, ...part.properties } }),
    ...((joined.required || part.required) && { required: [...new Set([...(joined.required ?? []), ...(part.required ?? [])])] }),
  }), rest);
}

function lookup(ref: string, root: Schema): Schema | undefined {
  if (!ref.startsWith("#")) return undefined;
  let at: unknown = root;
  for (const part of ref.slice(1).split("/").filter(Boolean)) {
    const key = decodeURIComponent(part).replaceAll("~1", "/").replaceAll("~0", "~");
    at = typeof at === "object" && at !== null ? (at as JsonObject)[key] : undefined;
  }
  return typeof at === "object" && at !== null ? (at as Schema) : undefined;
}

/** Which control shows a resolved schema. */
export function kindOf(schema: Schema): Kind {
  if (Array.isArray(schema.enum)) return "enum";
  if ("const" in schema) return "const";
  if ((schema.oneOf ?? schema.anyOf)?.length && !schema.properties) return "choice";
  const types = Array.isArray(schema.type) ? schema.type.filter((type) => type !== "null") : [schema.type];
  if (types.length === 1 && types[0] !== undefined) {
    return ["string", "number", "integer", "boolean", "object", "array", "null"].includes(types[0]) ? (types[0] as Kind) : "any";
  }
  if (types.length > 1) return "any";
  if (schema.properties) return "object";
  if (schema.items) return "array";
  return "any";
}

/** The value that a form begins with: defaults, and what is required as far as there is only one choice. */
export function initialValue(schema: Schema | boolean | undefined, root: Schema, required = true, depth = 0): Json {
  const resolved = resolve(schema, root);
  if ("default" in resolved) return structuredClone(resolved.default);
  if ("const" in resolved) return required ? resolved.const : undefined;
  if (!required || depth > MAX_DEPTH) return undefined;
  switch (kindOf(resolved)) {
    case "object": {
      const value: JsonObject = {};
      for (const [name, property] of Object.entries(resolved.properties ?? {})) {
        const initial = initialValue(property, root, resolved.required?.includes(name) ?? false, depth + 1);
        if (initial !== undefined) value[name] = initial;
      }
      return value;
    }
    case "array":
      return Array.from({ length: Math.min(resolved.minItems ?? 0, 20) }, () => initialValue(resolved.items, root, true, depth + 1) ?? null);
    case "boolean":
      return false;
    default:
      return undefined;
  }
}

export interface Problem {
  /** A JSON pointer. */
  path: string;
  message: string;
}

export const join = (path: string, key: string | number): string => `${path}/${String(key).replaceAll("~", "~0").replaceAll("/", "~1")}`;

const same = (a: unknown, b: unknown): boolean => JSON.stringify(a) === JSON.stringify(b);

function typeMatches(value: Json, type: string): boolean {
  switch (type) {
    case "string": return typeof value === "string";
    case "integer": return isRawNumber(value) || Number.isInteger(value);
    case "number": return isRawNumber(value) || typeof value === "number";
    case "boolean": return typeof value === "boolean";
    case "null": return value === null;
    case "array": return Array.isArray(value);
    case "object": return isObject(value);
    default: return true;
  }
}

/** Checks a value. `undefined` is an absent value. */
export function validate(schema: Schema | boolean | undefined, value: Json, root: Schema, path = "", depth = 0): Problem[] {
  if (schema === false) return [{ path, message: text.problems.notAllowed }];
  const resolved = resolve(schema, root);
  if (depth > MAX_DEPTH) return [];
  const types = resolved.type === undefined ? [] : [resolved.type].flat();
  if (types.length > 0 && !types.some((type) => typeMatches(value, type))) return [{ path, message: text.problems.type(types.join(" or ")) }];
  if (resolved.enum && !resolved.enum.some((each) => same(each, value))) return [{ path, message: text.problems.enum }];
  if ("const" in resolved && !same(resolved.const, value)) return [{ path, message: text.problems.const(JSON.stringify(resolved.const)) }];
  const problems = [
    ...(typeof value === "string" ? textProblems(resolved, value) : []),
    ...(typeof value === "number" ? numberProblems(resolved, value) : []),
  ].map((message) => ({ path, message }));
  if (Array.isArray(value)) problems.push(...listProblems(resolved, value, root, path, depth));
  if (isObject(value)) problems.push(...objectProblems(resolved, value, root, path, depth));
  const choices = resolved.oneOf ?? resolved.anyOf;
  if (choices?.length && !choices.some((choice) => validate(choice, value, root, path, depth + 1).length === 0)) {
    problems.push(...(validate(choices[matchingChoice(choices, value, root)], value, root, path, depth + 1)));
  }
  return problems;
}

/** The choice that fits a value best: the first that is valid, else the first of its type. */
export function matchingChoice(choices: readonly Schema[], value: Json, root: Schema): number {
  const valid = choices.findIndex((choice) => validate(choice, value, root).length === 0);
  if (valid >= 0) return valid;
  const typed = choices.findIndex((choice) => {
    const { type } = resolve(choice, root);
    return type !== undefined && [type].flat().some((each) => typeMatches(value, each));
  });
  return Math.max(0, typed);
}

function textProblems(schema: Schema, value: string): string[] {
  const length = [...value].length;
  const problems: string[] = [];
  if (schema.minLength !== undefined && length < schema.minLength) problems.push(value === "" ? text.problems.required : text.problems.minLength(schema.minLength));
  if (schema.maxLength !== undefined && length > schema.maxLength) problems.push(text.problems.maxLength(schema.maxLength));
  if (schema.pattern !== undefined && !matches(schema.pattern, value)) problems.push(text.problems.pattern(schema.pattern));
  if (schema.format === "date-time" && Number.isNaN(Date.parse(value))) problems.push(text.problems.dateTime);
  if (schema.format === "date" && !/^\d{4}-\d\d-\d\d$/.test(value)) problems.push(text.problems.date);
  if (schema.format === "email" && !/^[^@\s]+@[^@\s]+$/.test(value)) problems.push(text.problems.email);
  return problems;
}

/** A pattern that JavaScript cannot read is left to the server. */
function matches(pattern: string, value: string): boolean {
  try {
    return new RegExp(pattern, "u").test(value);
  } catch {
    return true;
  }
}

function numberProblems(schema: Schema, value: number): string[] {
  const problems: string[] = [];
  if (schema.minimum !== undefined && value < schema.minimum) problems.push(text.problems.minimum(schema.minimum));
  if (typeof schema.exclusiveMinimum === "number" && value <= schema.exclusiveMinimum) problems.push(text.problems.above(schema.exclusiveMinimum));
  if (schema.maximum !== undefined && value > schema.maximum) problems.push(text.problems.maximum(schema.maximum));
  if (typeof schema.exclusiveMaximum === "number" && value >= schema.exclusiveMaximum) problems.push(text.problems.below(schema.exclusiveMaximum));
  if (schema.multipleOf !== undefined && Math.abs(value / schema.multipleOf - Math.round(value / schema.multipleOf)) > 1e-9) problems.push(text.problems.multipleOf(schema.multipleOf));
  return problems;
}

function listProblems(schema: Schema, value: readonly unknown[], root: Schema, path: string, depth: number): Problem[] {
  const problems: Problem[] = [];
  if (schema.minItems !== undefined && value.length < schema.minItems) problems.push({ path, message: text.problems.minItems(schema.minItems) });
  if (schema.maxItems !== undefined && value.length > schema.maxItems) problems.push({ path, message: text.problems.maxItems(schema.maxItems) });
  if (schema["uniqueItems"] === true && new Set(value.map((each) => JSON.stringify(each))).size < value.length) problems.push({ path, message: text.problems.unique });
  return [...problems, ...value.flatMap((each, index) => validate(schema.prefixItems?.[index] ?? schema.items, each, root, join(path, index), depth + 1))];
}

function objectProblems(schema: Schema, value: JsonObject, root: Schema, path: string, depth: number): Problem[] {
  const problems: Problem[] = [];
  for (const name of schema.required ?? []) if (value[name] === undefined) problems.push({ path: join(path, name), message: text.problems.required });
  for (const [name, each] of Object.entries(value)) {
    if (each === undefined) continue;
    const property = schema.properties?.[name];
    if (property !== undefined) problems.push(...validate(property, each, root, join(path, name), depth + 1));
    else if (schema.additionalProperties === false && !schema["patternProperties"]) problems.push({ path: join(path, name), message: text.problems.unknown });
    else if (isObject(schema.additionalProperties)) problems.push(...validate(schema.additionalProperties, each, root, join(path, name), depth + 1));
  }
  return problems;
}
