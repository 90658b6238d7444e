import { useEffect, useState } from "react";
import { formatJson, parseExact } from "../../api/json";
import { s } from "../../strings";
import { CodeEditor, Field } from "../../ui";
import { initialValue, isObject, type Json, type Schema } from "../start/schema";
import { containsInvalid, SchemaField } from "../start/SchemaForm";

const text = s.workflow;

/** Edits the payload of a signal as a form of its schema, or as JSON. Calls `onChange` with the JSON text. */
export function PayloadForm({ schema, onChange }: { schema: Schema | undefined; onChange: (json: string) => void }) {
  const [raw, setRaw] = useState(schema === undefined);
  const [value, setValue] = useState<Json>(() => (schema ? initialValue(schema, schema) : null));
  const [json, setJson] = useState(() => formatJson(value));
  // Nothing is typed for a payload that is all defaults.
  useEffect(() => void onChange(json), []); // eslint-disable-line react-hooks/exhaustive-deps
  const edit = (next: Json) => {
    setValue(next);
    const typed = containsInvalid(next) ? "" : formatJson(next);
    setJson(typed);
    onChange(typed);
  };
  const type = (next: string) => {
    setJson(next);
    onChange(next);
    try {
      setValue(parseExact(next));
    } catch {
      // The form keeps its value until the text is JSON again.
    }
  };
  return (
    <div className="payload-form stack">
      {schema && (
        <div className="switch" role="group" aria-label={text.payload}>
          <button type="button" aria-pressed={!raw} onClick={() => setRaw(false)}>{text.payloadForm}</button>
          <button type="button" aria-pressed={raw} onClick={() => setRaw(true)}>{text.payloadRaw}</button>
        </div>
      )}
      {schema && !raw
        ? <SchemaField schema={schema} root={schema} value={value} onChange={edit} problems={[]} path="" label={text.payload} required />
        : <Field label={text.payload}>{() => <CodeEditor language="json" label={text.payload} value={json} onChange={type} />}</Field>}
    </div>
  );
}

/** The schema of the payload that a step waits for, from the definition. */
export function payloadSchema(definition: unknown, step: string): Schema | undefined {
  if (Array.isArray(definition)) {
    for (const each of definition) {
      const found = payloadSchema(each, step);
      if (found) return found;
    }
    return undefined;
  }
  if (!isObject(definition)) return undefined;
  const wait = definition["wait_for_signal"];
  if (definition["name"] === step && isObject(wait)) return isObject(wait["schema"]) ? (wait["schema"] as Schema) : undefined;
  return payloadSchema(Object.values(definition), step);
}
