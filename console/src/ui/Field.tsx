import { useId, type InputHTMLAttributes, type ReactNode, type Ref, type SelectHTMLAttributes, type TextareaHTMLAttributes } from "react";
import { s } from "../strings";

interface Base {
  label: string;
  hint?: string | undefined;
  problem?: string | undefined;
  optional?: boolean;
}

interface Wiring {
  id: string;
  "aria-describedby": string | undefined;
  "aria-invalid": true | undefined;
}

/** A label, a control, a hint and a problem, connected for assistive technology. `children` receives the attributes. */
export function Field({ label, hint, problem, optional, children }: Base & { children: (wiring: Wiring) => ReactNode }) {
  const id = useId();
  const described = [hint && `${id}-hint`, problem && `${id}-problem`].filter(Boolean).join(" ");
  return (
    <div className="field">
      <label htmlFor={id}>
        {label} {optional && <span className="hint">{s.common.optional}</span>}
      </label>
      {children({ id, "aria-describedby": described || undefined, "aria-invalid": problem ? true : undefined })}
      {hint && <span className="hint" id={`${id}-hint`}>{hint}</span>}
      {problem && <span className="problem" id={`${id}-problem`} role="alert">{problem}</span>}
    </div>
  );
}

type TextProps = Base & InputHTMLAttributes<HTMLInputElement> & { ref?: Ref<HTMLInputElement> };
export function TextField({ label, hint, problem, optional, className, ...rest }: TextProps) {
  return (
    <Field label={label} hint={hint} problem={problem} optional={optional ?? false}>
      {(wiring) => <input className={`input ${className ?? ""}`} autoComplete="off" spellCheck={false} {...rest} {...wiring} />}
    </Field>
  );
}

type AreaProps = Base & TextareaHTMLAttributes<HTMLTextAreaElement>;
export function TextArea({ label, hint, problem, optional, className, ...rest }: AreaProps) {
  return (
    <Field label={label} hint={hint} problem={problem} optional={optional ?? false}>
      {(wiring) => <textarea className={`input ${className ?? ""}`} {...rest} {...wiring} />}
    </Field>
  );
}

type SelectProps = Base & SelectHTMLAttributes<HTMLSelectElement> & { options: readonly (readonly [string, string])[] };
export function Select({ label, hint, problem, optional, options, className, ...rest }: SelectProps) {
  return (
    <Field label={label} hint={hint} problem={problem} optional={optional ?? false}>
      {(wiring) => (
        <select className={`input ${className ?? ""}`} {...rest} {...wiring}>
          {options.map(([value, text]) => <option key={value} value={value}>{text}</option>)}
        </select>
      )}
    </Field>
  );
}

export function Checkbox({ label, ...rest }: { label: string } & InputHTMLAttributes<HTMLInputElement>) {
  return (
    <label className="check">
      <input type="checkbox" {...rest} />
      {label}
    </label>
  );
}
