import { useId, useLayoutEffect, useRef, useState, type KeyboardEvent, type ReactNode } from "react";
import { Button } from "./Button";
import type { IconName } from "./Icon";

export interface TriggerLook {
  text?: ReactNode;
  icon?: IconName;
  label?: string;
  tone?: "primary" | "plain";
  small?: boolean;
  className?: string;
}

interface Props {
  trigger: TriggerLook;
  role: "menu" | "dialog";
  label: string;
  children: (close: () => void) => ReactNode;
}

/** A button that opens a native popover next to it. Escape and a click outside close it; focus returns to the button. */
export function Popover({ trigger, role, label, children }: Props) {
  const [open, setOpen] = useState(false);
  const button = useRef<HTMLButtonElement>(null);
  const panel = useRef<HTMLDivElement>(null);
  const id = useId();
  const close = () => {
    panel.current?.hidePopover();
    button.current?.focus();
  };
  useLayoutEffect(() => {
    const [anchor, element] = [button.current, panel.current];
    if (!open || !anchor || !element) return;
    place(anchor, element);
    element.querySelector<HTMLElement>("[role^=menuitem],input,select,button,a")?.focus();
  }, [open]);
  const keys = (event: KeyboardEvent) => {
    if (role === "menu") moveFocus(event, panel.current);
  };
  const { text, ...look } = trigger;
  return (
    <>
      <Button
        ref={button}
        {...look}
        aria-haspopup={role}
        aria-expanded={open}
        aria-controls={open ? id : undefined}
        onClick={() => panel.current?.togglePopover()}
      >
        {text}
      </Button>
      {/* The keys are handled for the items, which have the focus. */}
      {/* eslint-disable-next-line jsx-a11y/no-static-element-interactions */}
      <div
        ref={panel}
        id={id}
        className="menu"
        popover="auto"
        role={role}
        aria-label={label}
        onToggle={(event) => setOpen(event.newState === "open")}
        onKeyDown={keys}
      >
        {open && children(close)}
      </div>
    </>
  );
}

const MARGIN = 8;
function place(anchor: HTMLElement, element: HTMLElement): void {
  const at = anchor.getBoundingClientRect();
  const size = element.getBoundingClientRect();
  const left = Math.max(MARGIN, Math.min(at.left, window.innerWidth - size.width - MARGIN));
  const below = at.bottom + 4;
  const top = below + size.height > window.innerHeight - MARGIN ? Math.max(MARGIN, at.top - size.height - 4) : below;
  element.style.left = `${left}px`;
  element.style.top = `${top}px`;
}

function moveFocus(event: KeyboardEvent, panel: HTMLElement | null): void {
  const items = [...(panel?.querySelectorAll<HTMLElement>("[role^=menuitem]") ?? [])];
  const at = items.indexOf(document.activeElement as HTMLElement);
  const targets: Record<string, number> = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: items.length - 1 };
  const to = targets[event.key];
  if (to === undefined || items.length === 0) return;
  event.preventDefault();
  items[(to + items.length) % items.length]?.focus();
}
