import { useMutation } from "@tanstack/react-query";
import { useSession, type Session } from "../api/access";
import { signOut } from "../api/sign-in";
import { baseOf } from "../api/session";
import { s } from "../strings";
import { Button } from "./Button";
import { Popover } from "./Popover";
import { ProblemBox } from "./ProblemBox";
import { Time } from "./Time";

const text = s.session;

/** Who is signed in, with the sign-out. Nothing is shown without sign-in. */
export function SessionMenu({ namespace }: { namespace: string }) {
  const session = useSession().data;
  if (!session?.signed_in || !session.actor) return null;
  const actor = session.actor;
  return (
    <Popover role="dialog" label={text.menu(actor)} trigger={{ className: "session", tone: "plain", icon: "user", label: text.menu(actor), text: <span className="truncate">{actor}</span> }}>
      {() => <Who session={session} namespace={namespace} />}
    </Popover>
  );
}

function Who({ session, namespace }: { session: Session; namespace: string }) {
  const leave = useMutation({
    mutationFn: signOut,
    // Another load of the page, so that nothing of this caller stays in memory.
    onSuccess: () => window.location.assign(`${baseOf(namespace)}/`),
  });
  return (
    <div className="popover-body">
      <dl className="who">
        <dt>{text.actor}</dt><dd>{session.actor}</dd>
        {session.credential && <><dt>{text.credential}</dt><dd>{text.credentials[session.credential] ?? session.credential}</dd></>}
        <dt>{text.roles}</dt><dd>{session.roles.length > 0 ? session.roles.join(", ") : text.noRoles}</dd>
        {session.expires_at && <><dt>{text.expires}</dt><dd><Time at={session.expires_at} /></dd></>}
      </dl>
      {leave.isError && <ProblemBox error={leave.error} />}
      {session.by_session && <Button disabled={leave.isPending} onClick={() => leave.mutate()}>{text.signOut}</Button>}
    </div>
  );
}
