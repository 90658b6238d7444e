import { expect, test } from "vitest";
import { payloadSchema } from "./PayloadForm";
import { parseYaml } from "./yaml";

const definition = `
# A comment
workflow: trip
steps:
  - name: both
    parallel:
      air:
        - { name: flight, run: trips/flight, input: "\${ input }" }
  - name: consent
    wait_for_signal:
      signal: consent
      schema: { type: object, required: [by], properties: { by: { type: string, description: 'Who''s it', minLength: 1 }, ok: { type: boolean, default: true } } }
    timeout: 24h
  - name: other
    wait_for_signal: other
`;

test("schema of a payload is found in YAML", () => {
  expect(payloadSchema(parseYaml(definition), "consent")).toEqual({
    type: "object", required: ["by"], properties: { by: { type: "string", description: "Who's it", minLength: 1 }, ok: { type: "boolean", default: true } },
  });
});

test("short form and other steps have no schema", () => {
  expect(payloadSchema(parseYaml(definition), "other")).toBeUndefined();
  expect(payloadSchema(parseYaml(definition), "flight")).toBeUndefined();
  expect(payloadSchema(parseYaml("- ["), "flight")).toBeUndefined();
});
