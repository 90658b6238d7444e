import { useMutation, useQueryClient } from "@tanstack/react-query";
import { useState, useSyncExternalStore } from "react";
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
  const typedWrong = action.typed !== undefined && typed !== action.typed;
  const mutation = useMutation({
    mutationFn: () => action.run(reason.trim()),
    onSuccess: async () => {
      onClose();
      showToast({ tone: "good", text: action.done, ...auditLink(action) });
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
      {action.typed !== undefined && (
        <TextField
          label={s.ui.typeToConfirm(action.typed)}
          problem={tried && typedWrong ? s.ui.typeToConfirm(action.typed) : undefined}
          value={typed}
          onChange={(event) => setTyped(event.target.value)}
        />
      )}
      {mutation.isError && <ProblemBox error={mutation.error} />}
    </Dialog>
  );
}

function auditLink(action: Action) {
  if (!action.audit || !pageExists("/audit")) return {};
  return { link: { href: `/audit?${new URLSearchParams(action.audit).toString()}`, text: s.ui.audit } };
}
