import { useId, useRef, useState, type ReactNode } from "react";
import { FIELDS, formatFilter, OPERATORS, parseFilter, type Condition } from "../filter/filter";
import { s } from "../strings";
import { WORKFLOW_STATUSES } from "../api/types";
import { Button } from "./Button";
import { Select, TextField } from "./Field";
import { Popover } from "./Popover";
import { useShortcut } from "./shortcuts";

interface Props {
  value: string;
  onChange: (filter: string) => void;
  /** The server's message about the filter. */
  problem?: string | undefined;
  children?: ReactNode;
}

/** The filter as text, its conditions as chips, and a builder. `/` focuses the text. */
export function FilterBar({ value, onChange, problem, children }: Props) {
  const [text, setText] = useState(value);
  const [shown, setShown] = useState(value);
  const input = useRef<HTMLInputElement>(null);
  const id = useId();
  if (shown !== value) {
    setShown(value);
    setText(value);
  }
  useShortcut("/", () => input.current?.focus());
  const conditions = parseFilter(value) ?? [];
  return (
    <div className="filter">
      <div className="filter-line">
        <form
          role="search"
          onSubmit={(event) => {
            event.preventDefault();
            onChange(text.trim());
          }}
        >
          <input ref={input} className="input" aria-label={s.ui.filter} placeholder={s.ui.filterPlaceholder} title={s.ui.filterHelp}
            value={text} spellCheck={false} autoComplete="off" aria-invalid={problem ? true : undefined}
            aria-describedby={problem ? id : undefined} onChange={(event) => setText(event.target.value)}
            onBlur={() => text.trim() !== value && onChange(text.trim())} />
        </form>
        <Popover trigger={{ text: s.ui.addCondition, icon: "plus" }} role="dialog" label={s.ui.addCondition}>
          {(close) => (
            <Builder
              onAdd={(condition) => {
                const added = formatFilter([condition]);
                onChange(value.trim() === "" ? added : `${wrapped(value)} AND ${added}`);
                close();
              }}
            />
          )}
        </Popover>
        {children}
      </div>
      {problem && <span id={id} className="field"><span className="problem" role="alert">{problem}</span></span>}
      {conditions.length > 0 && (
        <ul className="row">
          {conditions.map((condition, index) => (
            <li key={index} className="chip">
              <span>{condition.field} {condition.operator} {condition.values.join(", ")}</span>
              <button type="button" aria-label={s.common.remove(condition.field)}
                onClick={() => onChange(formatFilter(conditions.filter((_, at) => at !== index)))}>
                ×
              </button>
            </li>
          ))}
        </ul>
      )}
    </div>
  );
}

/** AND binds less tightly than OR, so only a filter that the builder cannot show needs parentheses. */
function wrapped(filter: string): string {
  return parseFilter(filter) ? filter : `(${filter})`;
}

function Builder({ onAdd }: { onAdd: (condition: Condition) => void }) {
  const [field, setField] = useState<string>("status");
  const [label, setLabel] = useState("");
  const [operator, setOperator] = useState("=");
  const [value, setValue] = useState("");
  const name = field === "labels." ? `labels.${label}` : field;
  const complete = value !== "" && (field !== "labels." || /^\w+$/.test(label));
  return (
    <form
      className="popover-body"
      onSubmit={(event) => {
        event.preventDefault();
        if (complete) onAdd({ field: name, operator, values: [value] });
      }}
    >
      <Select label={s.ui.field} value={field} options={FIELDS.map((each) => [each, each === "labels." ? "labels" : each])}
        onChange={(event) => {
          setField(event.target.value);
          setValue("");
          setOperator(event.target.value.endsWith("_at") ? ">" : "=");
        }} />
      {field === "labels." && <TextField label={s.ui.labelName} value={label} onChange={(event) => setLabel(event.target.value)} />}
      <Select label={s.ui.operator} value={operator} options={OPERATORS.map((each) => [each, each])}
        onChange={(event) => setOperator(event.target.value)} />
      {field === "status" ? (
        <Select label={s.ui.value} value={value} onChange={(event) => setValue(event.target.value)}
          options={[["", "–"], ...WORKFLOW_STATUSES.map((each) => [each, each] as const)]} />
      ) : (
        <TextField label={s.ui.value} value={value} placeholder={field.endsWith("_at") ? "-24h" : ""}
          onChange={(event) => setValue(event.target.value)} />
      )}
      <Button type="submit" tone="primary" disabled={!complete}>{s.common.apply}</Button>
    </form>
  );
}
