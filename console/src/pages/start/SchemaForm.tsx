import { useId, useState } from "react";
import { formatJson, isRawNumber, parseExact } from "../../api/json";
import { s } from "../../strings";
import { Button, Field, Select, TextArea, TextField } from "../../ui";
import { initialValue, isObject, join, kindOf, matchingChoice, resolve, type Json, type JsonObject, type Problem, type Schema } from "./schema";
import "./start.css";

const text = s.start;
const LONG_TEXT = 200;

interface Props {
  schema: Schema | boolean | undefined;
  root: Schema;
  value: Json;
  onChange: (value: Json) => void;
  problems: readonly Problem[];
  path: string;
  label: string;
  required: boolean;
  depth?: number;
}

/** The controls for a value, after its JSON Schema. An absent value is `undefined`. */
export function SchemaField(props: Props) {
  const schema = resolve(props.schema, props.root);
  const label = schema.title ?? props.label;
  const shared = { ...props, schema, label };
  switch (kindOf(schema)) {
    case "object": return <ObjectField {...shared} />;
    case "array": return <ListField {...shared} />;
    case "enum": return <EnumField {...shared} />;
    case "boolean": return <BooleanField {...shared} />;
    case "number":
    case "integer": return <NumberField {...shared} />;
    case "string": return <StringField {...shared} />;
    case "choice": return <ChoiceField {...shared} />;
    case "const":
    case "null": return <ConstField {...shared} />;
    case "any": return <JsonField {...shared} />;
  }
}

type Resolved = Omit<Props, "schema"> & { schema: Schema };

const problemAt = (props: Resolved) => props.problems.find((each) => each.path === props.path)?.message;
const problemBelow = (props: Resolved) => props.problems.some((each) => each.path.startsWith(`${props.path}/`));

function common(props: Resolved) {
  return {
    label: props.label, hint: hintOf(props.schema), problem: problemAt(props), optional: !props.required,
    "data-path": props.path, ...(props.required && { "aria-required": true as const }),
  };
}

function hintOf(schema: Schema): string | undefined {
  const example = schema.examples?.[0];
  return [schema.description, example !== undefined && text.example(typeof example === "string" ? example : JSON.stringify(example))]
    .filter(Boolean).join(" ") || undefined;
}

function StringField(props: Resolved) {
  const { schema, value, onChange } = props;
  const shown = typeof value === "string" ? value : "";
  // An empty control is an absent value. An empty text is written as JSON.
  const change = (next: string) => onChange(next === "" ? undefined : next);
  if ((schema.maxLength ?? 0) > LONG_TEXT || schema["contentMediaType"] !== undefined || shown.includes("\n")) {
    return <TextArea {...common(props)} rows={3} value={shown} onChange={(event) => change(event.target.value)} />;
  }
  const type = schema.format === "date" ? "date" : schema.format === "email" ? "email" : schema.format === "uri" ? "url" : "text";
  const placeholder = schema.format === "date-time" ? new Date(0).toISOString() : undefined;
  return <TextField {...common(props)} type={type} placeholder={placeholder} value={shown} onChange={(event) => change(event.target.value)} />;
}

/** Keeps what was typed: `1.` is not a number yet. */
function NumberField(props: Resolved) {
  const { value, onChange } = props;
  const [typed, setTyped] = useState<string>();
  const own = typed !== undefined && same(parseNumber(typed), value) ? typed : undefined;
  const shown = own ?? (value === undefined ? "" : isRawNumber(value) || typeof value === "number" ? JSON.stringify(value) : String(value));
  return (
    <TextField {...common(props)} inputMode="decimal" className="num schema-number" value={shown}
      onChange={(event) => {
        setTyped(event.target.value);
        onChange(parseNumber(event.target.value));
      }} />
  );
}

const same = (a: Json, b: Json) => JSON.stringify(a) === JSON.stringify(b);

/** A number, or the text if it is not a number, so that the check can report it. */
function parseNumber(typed: string): Json {
  const trimmed = typed.trim();
  if (trimmed === "") return undefined;
  return /^-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?$/.test(trimmed) ? parseExact(trimmed) : trimmed;
}

function BooleanField(props: Resolved) {
  const { value, onChange, required } = props;
  return (
    <Select {...common(props)} value={typeof value === "boolean" ? String(value) : ""}
      options={[...(required && value !== undefined ? [] : [["", text.notSet] as const]), ["true", text.yes], ["false", text.no]]}
      onChange={(event) => onChange(event.target.value === "" ? undefined : event.target.value === "true")} />
  );
}

function EnumField(props: Resolved) {
  const { schema, value, onChange } = props;
  const values = schema.enum ?? [];
  const index = values.findIndex((each) => same(each, value));
  const name = (each: unknown) => (typeof each === "string" ? each : JSON.stringify(each));
  return (
    <Select {...common(props)} value={index < 0 ? "" : String(index)}
      options={[["", props.required ? text.choose : text.notSet], ...values.map((each, at) => [String(at), name(each)] as const)]}
      onChange={(event) => onChange(event.target.value === "" ? undefined : values[Number(event.target.value)])} />
  );
}

function ConstField(props: Resolved) {
  const constant = "const" in props.schema ? props.schema.const : null;
  return (
    <Select {...common(props)} value={props.value === undefined ? "" : "set"}
      options={[...(props.required && props.value !== undefined ? [] : [["", text.notSet] as const]), ["set", JSON.stringify(constant)]]}
      onChange={(event) => props.onChange(event.target.value === "" ? undefined : constant)} />
  );
}

/** Any JSON value, as text. */
function JsonField(props: Resolved) {
  const [typed, setTyped] = useState<string>();
  const parsed = typed === undefined ? undefined : tryParse(typed);
  const current = typed !== undefined && (parsed === undefined || same(parsed.value, props.value)) ? typed : props.value === undefined ? "" : formatJson(props.value);
  const invalid = typed !== undefined && current === typed && parsed === undefined;
  return (
    <TextArea {...common(props)} className="mono" rows={3} spellCheck={false} value={current}
      hint={[hintOf(props.schema), text.anyJson].filter(Boolean).join(" ")}
      problem={invalid ? text.problems.json : problemAt(props)}
      onChange={(event) => {
        setTyped(event.target.value);
        const next = tryParse(event.target.value);
        // A text that is not JSON is kept as a marker that no schema accepts.
        props.onChange(next ? next.value : INVALID);
      }} />
  );
}

/** A value that is not JSON. The page refuses to send it. */
const INVALID = Symbol("invalid JSON");
export function containsInvalid(value: Json): boolean {
  if (value === INVALID) return true;
  if (Array.isArray(value)) return value.some(containsInvalid);
  return isObject(value) && Object.values(value).some(containsInvalid);
}

function tryParse(typed: string): { value: Json } | undefined {
  if (typed.trim() === "") return { value: undefined };
  try {
    return { value: parseExact(typed) };
  } catch {
    return undefined;
  }
}

function ChoiceField(props: Resolved) {
  const { schema, root, value, onChange } = props;
  const choices = schema.oneOf ?? schema.anyOf ?? [];
  const [picked, setPicked] = useState<number>();
  const at = picked ?? matchingChoice(choices, value, root);
  const name = (choice: Schema, index: number) => {
    const resolved = resolve(choice, root);
    return resolved.title ?? ("const" in resolved ? JSON.stringify(resolved.const) : [resolved.type].flat().filter(Boolean).join(" or ") || text.variant(index + 1));
  };
  return (
    <div className="schema-group">
      <Select label={text.kindOf(props.label)} hint={hintOf(schema)} value={String(at)} options={choices.map((choice, index) => [String(index), name(choice, index)])}
        onChange={(event) => {
          setPicked(Number(event.target.value));
          onChange(initialValue(choices[Number(event.target.value)], root));
        }} />
      <SchemaField {...props} schema={choices[at]} key={at} />
    </div>
  );
}

function Group({ props, actions, children }: { props: Resolved; actions?: React.ReactNode; children: React.ReactNode }) {
  const id = useId();
  const problem = problemAt(props);
  const hint = hintOf(props.schema);
  if ((props.depth ?? 0) === 0) return <div className="schema-root">{hint && <p className="muted">{hint}</p>}{problem && <p className="field"><span className="problem" role="alert">{problem}</span></p>}{children}{actions}</div>;
  return (
    <div className={`schema-group${problemBelow(props) ? " invalid" : ""}`} role="group" aria-labelledby={id} data-path={props.path} tabIndex={problem ? -1 : undefined}>
      <div className="schema-head">
        <span id={id}><b>{props.label}</b> {!props.required && <span className="muted">{s.common.optional}</span>}</span>
        {actions}
      </div>
      {hint && <span className="muted">{hint}</span>}
      {problem && <span className="field"><span className="problem" role="alert">{problem}</span></span>}
      {children}
    </div>
  );
}

function ObjectField(props: Resolved) {
  const { schema, root, value, onChange, path, depth = 0 } = props;
  if (value === undefined && depth > 0) {
    return <Group props={props} actions={<Button small icon="plus" onClick={() => onChange(initialValue(schema, root))}>{text.add}</Button>}>{null}</Group>;
  }
  const object: JsonObject = isObject(value) ? value : {};
  const set = (name: string, next: Json) => {
    onChange(Object.fromEntries(Object.entries({ ...object, [name]: next }).filter(([, value]) => value !== undefined)));
  };
  const properties = Object.entries(schema.properties ?? {});
  const others = Object.keys(object).filter((name) => !(name in (schema.properties ?? {})));
  const open = schema.additionalProperties !== false;
  const remove = !props.required && depth > 0 && <Button tone="plain" small icon="cross" label={s.common.remove(props.label)} onClick={() => onChange(undefined)} />;
  return (
    <Group props={props} actions={remove}>
      {properties.map(([name, property]) => (
        <SchemaField key={name} schema={property} root={root} value={object[name]} onChange={(next) => set(name, next)} problems={props.problems}
          path={join(path, name)} label={name} required={schema.required?.includes(name) ?? false} depth={depth + 1} />
      ))}
      {others.map((name) => (
        <div key={name} className="schema-item">
          <SchemaField schema={schema.additionalProperties} root={root} value={object[name]} onChange={(next) => set(name, next ?? null)} problems={props.problems}
            path={join(path, name)} label={name} required depth={depth + 1} />
          <Button tone="plain" small icon="cross" label={s.common.remove(name)} onClick={() => set(name, undefined)} />
        </div>
      ))}
      {open && (properties.length === 0 || isObject(schema.additionalProperties)) && <AddProperty taken={Object.keys(object)} onAdd={(name) => set(name, initialValue(schema.additionalProperties, root) ?? "")} />}
    </Group>
  );
}

function AddProperty({ taken, onAdd }: { taken: readonly string[]; onAdd: (name: string) => void }) {
  const [name, setName] = useState("");
  const free = name !== "" && !taken.includes(name);
  const add = () => {
    if (free) onAdd(name);
    setName("");
  };
  return (
    <div className="schema-add">
      <Field label={text.propertyName}>
        {(wiring) => (
          <input className="input" value={name} autoComplete="off" spellCheck={false} {...wiring} onChange={(event) => setName(event.target.value)}
            onKeyDown={(event) => {
              if (event.key !== "Enter") return;
              event.preventDefault();
              add();
            }} />
        )}
      </Field>
      <Button icon="plus" disabled={!free} onClick={add}>{text.addProperty}</Button>
    </div>
  );
}

function ListField(props: Resolved) {
  const { schema, root, value, onChange, path, depth = 0 } = props;
  const items = Array.isArray(value) ? (value as Json[]) : [];
  const replace = (index: number, next: Json) => onChange(items.map((each, at) => (at === index ? next ?? null : each)));
  const without = (index: number) => {
    const left = items.filter((_, at) => at !== index);
    onChange(left.length === 0 && !props.required ? undefined : left);
  };
  const full = schema.maxItems !== undefined && items.length >= schema.maxItems;
  const element = (index: number) => schema.prefixItems?.[index] ?? schema.items;
  return (
    <Group props={props} actions={
      <Button small icon="plus" disabled={full} onClick={() => onChange([...items, initialValue(element(items.length), root) ?? null])}>{text.addItem}</Button>
    }>
      {items.length === 0 && <span className="muted">{text.noItems}</span>}
      {items.map((each, index) => (
        // Elements have no identity of their own.
        <div key={index} className="schema-item">
          <SchemaField schema={element(index)} root={root} value={each === null && kindOf(resolve(element(index), root)) !== "null" ? undefined : each} onChange={(next) => replace(index, next)}
            problems={props.problems} path={join(path, index)} label={text.item(index + 1)} required depth={depth + 1} />
          <Button tone="plain" small icon="cross" label={s.common.remove(text.item(index + 1))} onClick={() => without(index)} />
        </div>
      ))}
    </Group>
  );
}
