import { useSyncExternalStore } from "react";
import { Link } from "wouter";
import { s } from "../strings";
import { Button } from "./Button";
import { toastStore } from "./toast";

export function Toasts() {
  const toasts = useSyncExternalStore(toastStore.subscribe, toastStore.snapshot);
  return (
    <div className="toasts" role="status" aria-live="polite">
      {toasts.map((toast) => (
        <div key={toast.id} className={`toast tone-${toast.tone}`}>
          <div>
            {toast.text} {toast.link && <Link href={toast.link.href}>{toast.link.text}</Link>}
          </div>
          <Button tone="plain" small icon="cross" label={s.common.close} onClick={() => toastStore.dismiss(toast.id)} />
        </div>
      ))}
    </div>
  );
}
