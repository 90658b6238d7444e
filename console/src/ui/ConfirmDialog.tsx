import { useMutation, useQueryClient } from "@tanstack/react-query";
import { useState, useSyncExternalStore } from "react";
import { isProtected } from "../api/protection";
import { currentNamespace } from "../api/session";
import { s } from "../strings";
import { actionStore, type Action } from "./action";
import { Button } from "./Button";
import { Dialog } from "./Dialog";
import { TextArea, TextField } from "./Field";
import { ProblemBox } from "./ProblemBox";
import { showToast } from "./toast";
import { pageExists } from "../routes";

/** Shows the action of {@link confirmAction}. Part of the shell. */
export function ActionHost() {
  const action = useSyncExternalStore(actionStore.subscribe, actionStore.snapshot);
  return action ? <ConfirmDialog key={action.title} action={action} onClose={() => actionStore.set(undefined)} /> : null;
}

export function ConfirmDialog({ action, onClose }: { action: Action; onClose: () => void }) {
  const [reason, setReason] = useState("");
  const [typed, setTyped] = useState("");
  const [tried, setTried] = useState(false);
  const client = useQueryClient();
  const asks = action.reason ?? "required";
  const reasonMissing = asks === "required" && reason.trim() === "";
  const wanted = textToType(action, currentNamespace());
  const typedWrong = wanted !== undefined && typed !== wanted;
  const mutation = useMutation({
    mutationFn: () => action.run(reason.trim()),
    onSuccess: async (result) => {
      onClose();
      showToast({ tone: "good", text: typeof action.done === "string" ? action.done : action.done(result), ...auditLink(action) });
      await Promise.all((action.refresh ?? []).map((queryKey) => client.invalidateQueries({ queryKey })));
    },
  });
  const submit = () => {
    setTried(true);
    if (!reasonMissing && !typedWrong && !mutation.isPending) mutation.mutate();
  };
  return (
    <Dialog
      title={action.title}
      onClose={onClose}
      onSubmit={submit}
      foot={
        <>
          <Button onClick={onClose}>{s.common.cancel}</Button>
          <Button type="submit" tone={action.danger ? "danger-solid" : "primary"} disabled={mutation.isPending}>{action.verb}</Button>
        </>
      }
    >
      {action.body && <div>{action.body}</div>}
      {asks !== "none" && (
        <TextArea
          label={s.common.reason}
          hint={s.common.reasonHint}
          optional={asks === "optional"}
          required={asks === "required"}
          problem={tried && reasonMissing ? s.ui.reasonRequired : undefined}
          value={reason}
          maxLength={1024}
          rows={2}
          onChange={(event) => setReason(event.target.value)}
        />
      )}
      {wanted !== undefined && (
        <TextField
          label={s.ui.typeToConfirm(wanted)}
          problem={tried && typedWrong ? s.ui.typeToConfirm(wanted) : undefined}
          value={typed}
          onChange={(event) => setTyped(event.target.value)}
        />
      )}
      {mutation.isError && <ProblemBox error={mutation.error} />}
    </Dialog>
  );
}

/** The text to type before the action. In a protected namespace, a destructive action needs the namespace's name. */
export function textToType(action: Pick<Action, "typed" | "danger">, namespace: string): string | undefined {
  return action.typed ?? (action.danger && isProtected(namespace) ? namespace : undefined);
}

function auditLink(action: Action) {
  if (!action.audit || !pageExists("/audit")) return {};
  return { link: { href: `/audit?${new URLSearchParams(action.audit).toString()}`, text: s.ui.audit } };
}
