import { expect, test } from "vitest";
import { formOf, namesAt, pathAt, patchOf, placeOf, read, settingsOf, valueAt, type Schema } from "./settings";

const schema: Schema = {
  properties: {
    limits: {
      properties: {
        page_size: { type: "integer", minimum: 1, maximum: 1000, default: 100, description: "Elements of a page", "x-apply": "live" },
        rate: { properties: { caller: { properties: { burst: { type: "integer", "x-apply": "live" } } } } },
      },
    },
    services: { type: ["object", "null"], additionalProperties: { properties: { url: { type: "string", "x-apply": "live" } } } },
    listen: { type: "string", "x-apply": "file-only" },
  },
};

test("settings are the leaves, with when they take effect", () => {
  expect(settingsOf(schema).map(({ path, apply }) => [path, apply])).toEqual([
    ["limits.page_size", "live"], ["limits.rate.caller.burst", "live"], ["services", "live"], ["listen", "file-only"],
  ]);
  expect(formOf({ type: "integer", minimum: 1, maximum: 10 })).toBe("integer from 1 to 10");
  expect(formOf({ enum: ["memory", "kafka"] })).toBe("memory, kafka");
});

test("value is found, set and removed by its path", () => {
  expect(valueAt({ limits: { page_size: 50 } }, "limits.page_size")).toBe(50);
  expect(valueAt({ limits: 3 }, "limits.page_size")).toBeUndefined();
  expect(patchOf("limits.page_size", null)).toEqual({ limits: { page_size: null } });
});

test("typed text is JSON or text", () => {
  expect(read("50")).toBe(50);
  expect(read(' ["a"] ')).toEqual(["a"]);
  expect(read("debug")).toBe("debug");
});

test("place in a document is known while it is typed", () => {
  const text = '{\n  "queue": { "a": [1, 2] },\n  "limits": {\n    "';
  expect(pathAt(text, text.length)).toEqual(["limits"]);
  expect(namesAt(schema, text, text.length).map((each) => each.name)).toEqual(["page_size", "rate"]);
  const free = '{ "services": { "payments": { ';
  expect(namesAt(schema, free, free.length).map((each) => each.name)).toEqual(["url"]);
});

test("pointer and path lead to the line", () => {
  const text = '{\n  "limits": {\n    "page_size": 0\n  }\n}';
  expect(placeOf(text, "/limits/page_size")).toEqual({ line: 3, column: 5 });
  expect(placeOf(text, "limits.page_size")).toEqual({ line: 3, column: 5 });
  expect(placeOf(text, "/nothing")).toEqual({ line: 1, column: 1 });
});
