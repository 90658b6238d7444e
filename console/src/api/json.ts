// JSON whose numbers keep their digits. A number that JavaScript would round, such as a 64-bit integer, becomes a raw
// JSON value, which JSON.stringify writes as it was read.

interface RawJson {
  rawJSON: string;
}
interface JsonWithRaw {
  parse(text: string, reviver: (key: string, value: unknown, context?: { source?: string }) => unknown): unknown;
  rawJSON?: (text: string) => RawJson;
  isRawJSON?: (value: unknown) => boolean;
}
const json = JSON as unknown as JsonWithRaw;

/** Parses JSON without rounding integers. Other numbers are compared by value, so that 1.0 stays a number. */
export function parseExact(text: string): unknown {
  return json.parse(text, (_key, value, context) => {
    if (typeof value !== "number" || Number.isSafeInteger(value) || context?.source === undefined) return value;
    if (!json.rawJSON || String(value) === context.source || !/^-?\d+$/.test(context.source)) return value;
    return json.rawJSON(context.source);
  });
}

/** Whether `value` is a number that JavaScript cannot represent. */
export function isRawNumber(value: unknown): value is RawJson {
  return json.isRawJSON?.(value) ?? false;
}

/** Formats a value as JSON with an indentation of two spaces. An absent value is `null`. */
export function formatJson(value: unknown): string {
  return JSON.stringify(value ?? null, null, 2);
}
