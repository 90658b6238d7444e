import { useId, type KeyboardEvent, type ReactNode } from "react";

export interface Tab {
  id: string;
  label: string;
  render: () => ReactNode;
}

/** Tabs, moved by the arrow keys. Keep `active` in the URL with `useParam("tab")`. */
export function Tabs({ label, tabs, active, onChange }: { label: string; tabs: readonly Tab[]; active: string; onChange: (id: string) => void }) {
  const base = useId();
  const current = tabs.find((tab) => tab.id === active) ?? tabs[0];
  if (!current) return null;
  const keys = (event: KeyboardEvent<HTMLDivElement>) => {
    const at = tabs.indexOf(current);
    const targets: Record<string, number> = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: tabs.length - 1 };
    const to = targets[event.key];
    const next = to === undefined ? undefined : tabs[(to + tabs.length) % tabs.length];
    if (!next) return;
    event.preventDefault();
    onChange(next.id);
    document.getElementById(`${base}-${next.id}`)?.focus();
  };
  return (
    <>
      <div className="tabs" role="tablist" aria-label={label} tabIndex={-1} onKeyDown={keys}>
        {tabs.map((tab) => (
          <button
            key={tab.id}
            id={`${base}-${tab.id}`}
            type="button"
            role="tab"
            className="tab"
            aria-selected={tab === current}
            aria-controls={`${base}-panel`}
            tabIndex={tab === current ? 0 : -1}
            onClick={() => onChange(tab.id)}
          >
            {tab.label}
          </button>
        ))}
      </div>
      <div id={`${base}-panel`} role="tabpanel" aria-labelledby={`${base}-${current.id}`} className="fill">
        {current.render()}
      </div>
    </>
  );
}
