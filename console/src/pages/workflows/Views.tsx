import { useState } from "react";
import { s } from "../../strings";
import { Button, Checkbox, Icon, Popover, TextField } from "../../ui";
import { COLUMN_NAMES, DEFAULT_COLUMNS } from "./columns";
import { BUILT_IN, removeView, savedViews, saveView, type View } from "./views";

const text = s.workflows;

interface ViewsProps {
  current: Omit<View, "name">;
  onOpen: (view: View) => void;
}

/** The saved views, and a form that saves the current one. */
export function Views({ current, onOpen }: ViewsProps) {
  const [views, setViews] = useState(savedViews);
  const [name, setName] = useState("");
  const entry = (view: View, close: () => void) => (
    <button type="button" className="menu-item" aria-current={view.filter === current.filter ? "true" : undefined}
      title={view.filter} onClick={() => {
        onOpen(view);
        close();
      }}>
      <Icon name={view.filter === current.filter ? "check" : "dot"} /><span className="truncate">{view.name}</span>
    </button>
  );
  return (
    <Popover trigger={{ text: text.views.title, icon: "star" }} role="dialog" label={text.views.title}>
      {(close) => (
        <form
          className="popover-body"
          onSubmit={(event) => {
            event.preventDefault();
            if (name.trim() === "") return;
            setViews(saveView({ ...current, name: name.trim() }));
            setName("");
          }}
        >
          <ul>
            {BUILT_IN.map((view) => <li key={view.name}>{entry(view, close)}</li>)}
            {views.map((view) => (
              <li key={view.name} className="view-entry">
                {entry(view, close)}
                <Button tone="plain" small icon="trash" label={s.common.remove(view.name)} onClick={() => setViews(removeView(view.name))} />
              </li>
            ))}
          </ul>
          <TextField label={text.views.save} hint={text.views.saveHint} value={name} maxLength={60} onChange={(event) => setName(event.target.value)} />
          <div><Button type="submit" disabled={name.trim() === ""}>{text.views.saveVerb}</Button></div>
        </form>
      )}
    </Popover>
  );
}

interface ColumnsProps {
  chosen: readonly string[];
  onChange: (columns: readonly string[]) => void;
}

export function Columns({ chosen, onChange }: ColumnsProps) {
  const [label, setLabel] = useState("");
  const labels = chosen.filter((id) => id.startsWith("labels."));
  const toggle = (id: string) => onChange(chosen.includes(id) ? chosen.filter((each) => each !== id) : [...chosen, id]);
  return (
    <Popover trigger={{ text: text.columns, icon: "columns" }} role="dialog" label={text.columns}>
      {() => (
        <form
          className="popover-body"
          onSubmit={(event) => {
            event.preventDefault();
            if (label.trim() !== "" && !chosen.includes(`labels.${label.trim()}`)) onChange([...chosen, `labels.${label.trim()}`]);
            setLabel("");
          }}
        >
          <ul className="column-list">
            {[...COLUMN_NAMES, ...labels.map((id) => [id, id] as const)].map(([id, name]) => (
              <li key={id}><Checkbox label={name} checked={chosen.includes(id)} onChange={() => toggle(id)} /></li>
            ))}
          </ul>
          <TextField label={text.labelColumn} value={label} maxLength={256} placeholder="team" onChange={(event) => setLabel(event.target.value)} />
          <div className="row">
            <Button type="submit" disabled={label.trim() === ""}>{text.addColumn}</Button>
            <Button tone="plain" onClick={() => onChange(DEFAULT_COLUMNS)}>{text.defaultColumns}</Button>
          </div>
        </form>
      )}
    </Popover>
  );
}
