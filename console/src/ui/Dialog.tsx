import { useId, useLayoutEffect, useRef, type ReactNode } from "react";
import { s } from "../strings";
import { Button } from "./Button";

interface Props {
  title: string;
  onClose: () => void;
  wide?: boolean;
  /** Buttons at the end. */
  foot?: ReactNode;
  /** Makes the content a form, submitted with Enter. */
  onSubmit?: () => void;
  children: ReactNode;
}

/** A modal dialog on the native element. Mount it to open it. Focus returns to where it was. */
export function Dialog({ title, onClose, wide, foot, onSubmit, children }: Props) {
  const dialog = useRef<HTMLDialogElement>(null);
  const id = useId();
  // A layout effect closes the element while it is in the document: only then does the browser return the focus.
  useLayoutEffect(() => {
    const element = dialog.current;
    if (element && !element.open) element.showModal();
    // The browser would focus the button that closes the dialog.
    element?.querySelector<HTMLElement>(".dialog-body :is(input,textarea,select), .dialog-foot button")?.focus();
    return () => element?.close();
  }, []);
  const content = (
    <>
      <div className="dialog-head">
        <h2 id={id}>{title}</h2>
        <Button tone="plain" small icon="cross" label={s.common.close} onClick={onClose} />
      </div>
      <div className="dialog-body">{children}</div>
      {foot && <div className="dialog-foot">{foot}</div>}
    </>
  );
  return (
    <dialog
      ref={dialog}
      className={`dialog${wide ? " wide" : ""}`}
      aria-labelledby={id}
      onCancel={(event) => {
        event.preventDefault();
        onClose();
      }}
    >
      {onSubmit ? (
        // The dialogs name their problems themselves.
        <form
          noValidate
          onSubmit={(event) => {
            event.preventDefault();
            onSubmit();
          }}
        >
          {content}
        </form>
      ) : content}
    </dialog>
  );
}
