// The part of the filter grammar (a subset of AIP-160) that the filter builder shows: comparisons joined by AND, and
// groups of comparisons of one field joined by OR. Other filters are edited as text.

export interface Condition {
  field: string;
  operator: string;
  /** Alternatives. More than one only with `=`. */
  values: string[];
}

export const OPERATORS = ["=", "!=", "<", "<=", ">", ">="] as const;
export const FIELDS = ["status", "definition", "labels.", "cause", "error.code", "idempotency_key", "created_at", "ended_at", "version", "id"] as const;

/** Workflows that have not ended and need no operator. */
export const OPEN_FILTER = "(status = QUEUED OR status = IN_PROGRESS OR status = ROLLING_BACK OR status = PAUSED)";
/** Workflows that should have ended by now. */
export const STUCK_FILTER = '(status = QUEUED OR status = IN_PROGRESS OR status = ROLLING_BACK) AND created_at < "-1h"';

interface Token {
  kind: "word" | "text" | "operator" | "open" | "close";
  text: string;
}

const TOKEN = /\s*(?:("(?:[^"\\]|\\.)*")|(<=|>=|!=|=|<|>)|([()])|([^\s()<>=!"]+))/y;

function tokenize(text: string): Token[] | undefined {
  const tokens: Token[] = [];
  TOKEN.lastIndex = 0;
  while (TOKEN.lastIndex < text.trimEnd().length) {
    const match = TOKEN.exec(text);
    if (!match) return undefined;
    if (match[1] !== undefined) tokens.push({ kind: "text", text: match[1].slice(1, -1).replace(/\\(.)/g, "$1") });
    else if (match[2] !== undefined) tokens.push({ kind: "operator", text: match[2] });
    else if (match[3] !== undefined) tokens.push({ kind: match[3] === "(" ? "open" : "close", text: match[3] });
    else tokens.push({ kind: "word", text: match[4] ?? "" });
  }
  return tokens;
}

/** The conditions of a filter, or undefined if the builder cannot show the filter. An empty filter has none. */
export function parseFilter(text: string): Condition[] | undefined {
  const tokens = tokenize(text);
  if (!tokens) return undefined;
  const conditions: Condition[] = [];
  let at = 0;
  const comparison = (): Condition | undefined => {
    const [field, operator, value] = tokens.slice(at, at + 3);
    if (field?.kind !== "word" || operator?.kind !== "operator" || (value?.kind !== "word" && value?.kind !== "text")) return undefined;
    if (/^(AND|OR|NOT)$|^-/.test(field.text)) return undefined;
    at += 3;
    return { field: field.text, operator: operator.text, values: [value.text] };
  };
  const alternatives = (): Condition | undefined => {
    const first = comparison();
    while (first && tokens[at]?.kind === "word" && tokens[at]?.text === "OR") {
      at += 1;
      const next = comparison();
      if (!next || next.field !== first.field || next.operator !== "=" || first.operator !== "=") return undefined;
      first.values.push(...next.values);
    }
    return first;
  };
  while (at < tokens.length) {
    if (conditions.length > 0 && tokens[at++]?.text !== "AND") return undefined;
    const grouped = tokens[at]?.kind === "open";
    if (grouped) at += 1;
    const condition = alternatives();
    if (!condition || (grouped && tokens[at++]?.kind !== "close")) return undefined;
    conditions.push(condition);
  }
  return conditions;
}

const quote = (value: string) => (/^[A-Za-z0-9_][A-Za-z0-9_-]*$/.test(value) && !/^(AND|OR|NOT)$/.test(value)
  ? value : `"${value.replace(/["\\]/g, "\\$&")}"`);

/** Writes conditions as a filter. */
export function formatFilter(conditions: readonly Condition[]): string {
  return conditions
    .filter((condition) => condition.values.length > 0)
    .map(({ field, operator, values }) => {
      const terms = values.map((value) => `${field} ${operator} ${quote(value)}`);
      return terms.length > 1 ? `(${terms.join(" OR ")})` : terms.join("");
    })
    .join(" AND ");
}

/** Replaces the condition of a field with `=` alternatives. Undefined if the builder cannot show the filter. */
export function withValues(text: string, field: string, values: string[]): string | undefined {
  const conditions = parseFilter(text);
  if (!conditions) return undefined;
  const others = conditions.filter((condition) => condition.field !== field || condition.operator !== "=");
  return formatFilter([...others, { field, operator: "=", values }]);
}
