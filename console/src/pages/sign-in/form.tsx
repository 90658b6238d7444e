import { useMutation, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import type { Session } from "../../api/access";
import { keys } from "../../api/keys";
import { signIn } from "../../api/sign-in";
import { s } from "../../strings";
import { Button, ProblemBox, TextField } from "../../ui";

const text = s.session;

/** The ways to sign in. `onOidc` begins a sign-in at the identity provider. */
export function SignInForm({ session, onOidc }: { session: Session | undefined; onOidc: () => void }) {
  const client = useQueryClient();
  const [key, setKey] = useState("");
  const [tried, setTried] = useState(false);
  const enter = useMutation({
    mutationFn: () => signIn(key.trim()),
    // The response has the permissions of the namespace of the page, as a later read has.
    onSuccess: (view) => client.setQueryData(keys.session(), view),
  });
  const submit = () => {
    setTried(true);
    if (key.trim() !== "" && !enter.isPending) enter.mutate();
  };
  const ways = session?.sign_in ?? ["access_key"];
  return (
    <div className="stack">
      {ways.includes("oidc") && <Button tone="primary" onClick={onOidc}>{text.oidc}</Button>}
      {ways.includes("oidc") && ways.includes("access_key") && <p className="muted or">{text.or}</p>}
      {ways.includes("access_key") && (
        <form
          className="stack"
          onSubmit={(event) => {
            event.preventDefault();
            submit();
          }}
        >
          <TextField type="password" autoComplete="current-password" label={text.key} hint={text.keyHint} value={key}
            problem={tried && key.trim() === "" ? text.keyRequired : undefined} onChange={(event) => setKey(event.target.value)} />
          {enter.isError && <ProblemBox error={enter.error} />}
          <Button type="submit" {...(!ways.includes("oidc") && { tone: "primary" as const })} disabled={enter.isPending}>{text.signIn}</Button>
        </form>
      )}
    </div>
  );
}
