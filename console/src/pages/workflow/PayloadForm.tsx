import { useState } from "react";
import { formatJson } from "../../api/json";
import { s } from "../../strings";
import { Checkbox, CodeEditor, Field, Select, TextField } from "../../ui";

const text = s.workflow;

/** The part of JSON Schema that the form shows. Everything else is edited as JSON. */
export interface Schema {
  type?: unknown;
  title?: unknown;
  description?: unknown;
  enum?: unknown;
  properties?: Record<string, Schema>;
  required?: unknown;
}

type Values = Record<string, string | boolean>;

/** The fields that the form can show, or undefined if the schema is not a flat object. */
export function formFields(schema: Schema | undefined): [string, Schema][] | undefined {
  if (schema?.type !== "object" || !schema.properties) return undefined;
  const fields = Object.entries(schema.properties);
  return fields.length > 0 && fields.every(([, each]) => ["string", "number", "integer", "boolean"].includes(String(each.type))) ? fields : undefined;
}

/** The JSON text of the filled form. Empty optional fields are absent; numbers keep their digits. */
export function formText(fields: readonly [string, Schema][], values: Values): string {
  const parts = fields.flatMap(([name, field]) => {
    const value = values[name];
    if (value === undefined || value === "") return [];
    const json = field.type === "number" || field.type === "integer" ? String(value) : JSON.stringify(value);
    return [`${JSON.stringify(name)}: ${json}`];
  });
  return `{${parts.join(", ")}}`;
}

/** Edits the payload of a signal. Calls `onChange` with the JSON text. */
export function PayloadForm({ schema, onChange }: { schema: Schema | undefined; onChange: (json: string) => void }) {
  const fields = formFields(schema);
  const [raw, setRaw] = useState(fields === undefined);
  const [values, setValues] = useState<Values>({});
  const [json, setJson] = useState(fields ? "{}" : schema ? skeleton(schema) : "null");
  const edit = (value: string) => {
    setJson(value);
    onChange(value);
  };
  const set = (name: string, value: string | boolean) => {
    const next = { ...values, [name]: value };
    setValues(next);
    edit(formText(fields ?? [], next));
  };
  return (
    <>
      {fields && (
        <div className="switch" role="group" aria-label={text.payload}>
          <button type="button" aria-pressed={!raw} onClick={() => setRaw(false)}>{text.payloadForm}</button>
          <button type="button" aria-pressed={raw} onClick={() => setRaw(true)}>{text.payloadRaw}</button>
        </div>
      )}
      {fields && !raw
        ? fields.map(([name, field]) => <Input key={name} name={name} field={field} required={Array.isArray(schema?.required) && schema.required.includes(name)} value={values[name]} onChange={(value) => set(name, value)} />)
        : <Field label={text.payload}>{() => <CodeEditor language="json" label={text.payload} value={json} onChange={edit} />}</Field>}
    </>
  );
}

function skeleton(schema: Schema): string {
  if (schema.type !== "object") return "null";
  return formatJson(Object.fromEntries(Object.keys(schema.properties ?? {}).map((name) => [name, null])));
}

function Input({ name, field, required, value, onChange }: { name: string; field: Schema; required: boolean; value: string | boolean | undefined; onChange: (value: string | boolean) => void }) {
  const label = typeof field.title === "string" ? field.title : name;
  const hint = typeof field.description === "string" ? field.description : undefined;
  if (field.type === "boolean") return <Checkbox label={label} checked={value === true} onChange={(event) => onChange(event.target.checked)} />;
  if (Array.isArray(field.enum)) {
    const options = [["", "–"] as const, ...field.enum.map((each) => [String(each), String(each)] as const)];
    return <Select label={label} hint={hint} optional={!required} options={options} value={String(value ?? "")} onChange={(event) => onChange(event.target.value)} />;
  }
  const numeric = field.type === "number" || field.type === "integer";
  return <TextField label={label} hint={hint} optional={!required} inputMode={numeric ? "decimal" : "text"} value={String(value ?? "")} onChange={(event) => onChange(event.target.value)} />;
}
