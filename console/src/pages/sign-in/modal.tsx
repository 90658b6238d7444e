import { useId, useLayoutEffect, useRef, type ReactNode } from "react";

/** A modal dialog without a way to close it: Escape does nothing. */
export function Modal({ title, children }: { title: string; children: ReactNode }) {
  const dialog = useRef<HTMLDialogElement>(null);
  const id = useId();
  // A layout effect closes the element while it is in the document: only then does the browser return the focus.
  useLayoutEffect(() => {
    const element = dialog.current;
    if (element && !element.open) element.showModal();
    element?.querySelector<HTMLElement>("input,button")?.focus();
    return () => element?.close();
  }, []);
  return (
    <dialog
      ref={dialog}
      className="dialog"
      aria-labelledby={id}
      onCancel={(event) => event.preventDefault()}
      // Browsers close a dialog on the second Escape even if the first was refused.
      onClose={() => dialog.current?.isConnected && dialog.current.showModal()}
    >
      <div className="dialog-head"><h2 id={id}>{title}</h2></div>
      <div className="dialog-body">{children}</div>
    </dialog>
  );
}
