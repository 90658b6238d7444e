import { useState } from "react";
import { formatFilter } from "../filter/filter";
import { pageExists, pages } from "../routes";
import { s } from "../strings";
import { Dialog } from "./Dialog";

const ID = /^[0-9a-f]{8}-[0-9a-f-]{27}$/i;

interface Target {
  to: string;
  text: string;
}

function targets(text: string): Target[] {
  const wanted = text.trim();
  const found: Target[] = pages.flatMap((page) =>
    page.nav?.label.toLowerCase().includes(wanted.toLowerCase()) ? [{ to: page.path, text: page.nav.label }] : []);
  if (wanted === "") return found;
  if (ID.test(wanted) && pageExists("/workflows/:id")) found.unshift({ to: `/workflows/${wanted}`, text: s.shell.paletteOpenWorkflow(wanted) });
  const filter = formatFilter([{ field: ID.test(wanted) ? "id" : "idempotency_key", operator: "=", values: [wanted] }]);
  found.push({ to: `/workflows?filter=${encodeURIComponent(filter)}`, text: s.shell.paletteFindKey(wanted) });
  return found;
}

export function Palette({ onClose, onGo }: { onClose: () => void; onGo: (to: string) => void }) {
  const [text, setText] = useState("");
  const [at, setAt] = useState(0);
  const found = targets(text);
  const go = (target: Target | undefined) => {
    if (!target) return;
    onClose();
    onGo(target.to);
  };
  return (
    <Dialog title={s.shell.palette} onClose={onClose} onSubmit={() => go(found[at])}>
      <input className="input" role="combobox" aria-expanded="true" aria-controls="palette-list" aria-activedescendant={`palette-${at}`}
        aria-label={s.shell.palettePlaceholder} placeholder={s.shell.palettePlaceholder} value={text} autoComplete="off"
        onChange={(event) => {
          setText(event.target.value);
          setAt(0);
        }}
        onKeyDown={(event) => {
          const step = event.key === "ArrowDown" ? 1 : event.key === "ArrowUp" ? -1 : 0;
          if (step === 0 || found.length === 0) return;
          event.preventDefault();
          setAt((at + step + found.length) % found.length);
        }} />
      <div id="palette-list" role="listbox" aria-label={s.shell.palette} className="palette-list">
        {found.map((target, index) => (
          // The combobox handles the keys.
          // eslint-disable-next-line jsx-a11y/click-events-have-key-events
          <div key={target.to} id={`palette-${index}`} role="option" tabIndex={-1} aria-selected={index === at} className="menu-item palette-option" onClick={() => go(target)}>
            {target.text}
          </div>
        ))}
      </div>
      {found.length === 0 && <p className="muted">{s.shell.paletteEmpty}</p>}
    </Dialog>
  );
}
