import { randomUUID } from "node:crypto";

/**
 * A JSON text that is kept unchanged, with all digits and characters. It can stand for a value of an input, of an output
 * or of a payload, or within one.
 */
export class RawJson {
  /** The JSON text. */
  readonly text: string;

  /** Keeps a JSON text. Throws a `SyntaxError` if the text is not valid JSON. */
  constructor(text: string) {
    JSON.parse(text);
    this.text = text;
  }
}

/** Marks texts that stand for numbers and for raw JSON. No other text begins with it. */
const mark = randomUUID();
const marked = new RegExp(`"${mark}(?:(-?\\d+)|r(\\d+))"`, "g");

/**
 * Converts a value to JSON. A `bigint` becomes a number with all its digits, and `undefined` becomes null.
 *
 * Throws a `TypeError` if the value cannot be converted, such as one with a cycle.
 */
export function encodeJson(value: unknown): string {
  if (value instanceof RawJson) {
    return value.text;
  }
  const raw: string[] = [];
  let bigints = 0;
  const text = JSON.stringify(value, function (this: Record<string, unknown>, key, current: unknown) {
    const original = this[key];
    if (original instanceof RawJson) {
      return `${mark}r${raw.push(original.text) - 1}`;
    }
    // Programs often define BigInt.prototype.toJSON, which would make a text of the number.
    const integer = typeof original === "bigint" ? original : current;
    if (typeof integer === "bigint") {
      bigints += 1;
      return `${mark}${integer}`;
    }
    return current;
  }) as string | undefined;
  if (text === undefined) {
    return "null";
  }
  return raw.length + bigints === 0 ? text : text.replace(marked, (_, digits: string | undefined, index: string | undefined) =>
    digits ?? raw[Number(index)] ?? "null");
}

/** A JSON text without 16 digits in a row has no integer beyond the safe range. */
const mayBeUnsafe = /\d{16}/;
const number = /-?\d+(\.\d+)?([eE][+-]?\d+)?/y;

/**
 * Converts JSON to a value. Empty text becomes null. An integer beyond `Number.MAX_SAFE_INTEGER` becomes a `bigint`. All
 * other numbers become a `number`, as by `JSON.parse`.
 *
 * Throws a `SyntaxError` if the text is not valid JSON.
 */
export function decodeJson(text: string): unknown {
  if (text === "") {
    return null;
  }
  if (!mayBeUnsafe.test(text)) {
    return JSON.parse(text);
  }
  // The text is valid from here on, so that a scan finds strings and numbers without a grammar.
  JSON.parse(text);
  let marks = "";
  let copied = 0;
  for (let at = 0; at < text.length;) {
    const character = text.charCodeAt(at);
    if (character === 0x22) {
      at = endOfString(text, at);
    } else if (character === 0x2d || (character >= 0x30 && character <= 0x39)) {
      number.lastIndex = at;
      const [token, fraction, exponent] = number.exec(text) ?? [""];
      if (fraction === undefined && exponent === undefined && !Number.isSafeInteger(Number(token))) {
        marks += `${text.slice(copied, at)}"${mark}${token}"`;
        copied = at + token.length;
      }
      at += Math.max(1, token.length);
    } else {
      at += 1;
    }
  }
  if (copied === 0) {
    return JSON.parse(text);
  }
  return JSON.parse(marks + text.slice(copied), (_, value: unknown) =>
    typeof value === "string" && value.startsWith(mark) ? BigInt(value.slice(mark.length)) : value);
}

function endOfString(text: string, start: number): number {
  let at = start + 1;
  while (text.charCodeAt(at) !== 0x22) {
    at += text.charCodeAt(at) === 0x5c ? 2 : 1;
  }
  return at + 1;
}
