import { render, screen } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { useState } from "react";
import { expect, test } from "vitest";
import { parseExact } from "../../api/json";
import { initialValue, kindOf, matchingChoice, resolve, validate, type Json, type Schema } from "./schema";
import { SchemaField } from "./SchemaForm";

const schema: Schema = {
  type: "object",
  required: ["id", "items"],
  properties: {
    id: { type: "string", minLength: 1, pattern: "^o-" },
    amount: { type: "number", exclusiveMinimum: 0 },
    level: { enum: ["low", "high"], default: "low" },
    items: { type: "array", minItems: 1, items: { $ref: "#/$defs/item" } },
    note: { type: ["string", "null"] },
  },
  additionalProperties: false,
  $defs: { item: { type: "object", required: ["sku"], properties: { sku: { type: "string" }, quantity: { type: "integer", minimum: 1 } } } },
};
const messages = (value: Json) => validate(schema, value, schema).map((each) => each.path);

test("a form begins with defaults and with what is required", () => {
  expect(initialValue(schema, schema)).toEqual({ level: "low", items: [{}] });
});

test.each([
  [{ id: "o-1", items: [{ sku: "a" }] }, []],
  [{ items: [] }, ["/id", "/items"]],
  [{ id: "x", amount: 0, items: [{ sku: "a", quantity: 0.5 }] }, ["/id", "/amount", "/items/0/quantity"]],
  [{ id: "o-1", items: [{}], level: "other", more: 1 }, ["/items/0/sku", "/level", "/more"]],
  [{ id: "o-1", items: [{ sku: "a" }], note: null }, []],
  ["text", [""]],
])("problems of %j are at %j", (value, paths) => expect(messages(value).sort()).toEqual([...paths].sort()));

test("a 64-bit integer is an integer", () => {
  expect(validate({ type: "integer" }, parseExact("9007199254740993"), {})).toEqual([]);
});

test("references are followed, circles end", () => {
  const circle: Schema = { $ref: "#/$defs/a", $defs: { a: { $ref: "#/$defs/a" } } };
  expect(kindOf(resolve(circle, circle))).toBe("any");
  expect(kindOf(resolve({ allOf: [{ properties: { a: { type: "string" } } }, { required: ["a"] }] }, {}))).toBe("object");
});

test("the choice that fits a value is shown", () => {
  const choices: Schema[] = [{ type: "string" }, { type: "object", required: ["run"] }];
  expect(matchingChoice(choices, { run: "a" }, {})).toBe(1);
  expect(matchingChoice(choices, undefined, {})).toBe(0);
});

function Harness({ onValue }: { onValue: (value: Json) => void }) {
  const [value, setValue] = useState<Json>(initialValue(schema, schema));
  return <SchemaField schema={schema} root={schema} value={value} path="" label="Input" required problems={validate(schema, value, schema)} onChange={(next) => {
    setValue(next);
    onValue(next);
  }} />;
}

test("the form writes the value and shows problems at their fields", async () => {
  let value: Json;
  render(<Harness onValue={(next) => { value = next; }} />);
  await userEvent.type(screen.getByLabelText("id"), "o-7");
  await userEvent.type(screen.getByLabelText(/^amount/), "12.50");
  await userEvent.type(screen.getByLabelText("sku"), "book");
  await userEvent.selectOptions(screen.getByLabelText(/^level/), "high");
  expect(value).toEqual({ id: "o-7", amount: 12.5, level: "high", items: [{ sku: "book" }] });
  expect((screen.getByLabelText(/^amount/) as HTMLInputElement).value).toBe("12.50");
  await userEvent.type(screen.getByLabelText(/^quantity/), "1x");
  expect(screen.getByLabelText(/^quantity/).getAttribute("aria-invalid")).toBe("true");
});
