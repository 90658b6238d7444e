import { useEffect } from "react";
import type { Session } from "../../api/access";
import { announce, oidcStart, peekReturn, rememberReturn, takeReturn } from "../../api/sign-in";
import { ROOT } from "../../api/session";
import icon from "../../icon.svg";
import { s } from "../../strings";
import { SignInForm } from "./form";
import "./sign-in.css";

const text = s.session;
const here = () => `${window.location.pathname}${window.location.search}`;
const onSignInPath = () => window.location.pathname === `${ROOT}/sign-in`;

/** The sign-in page: instead of any page, and at `/sign-in` after an error of the identity provider. */
export default function SignInPage({ session }: { session: Session | undefined }) {
  const params = new URLSearchParams(window.location.search);
  const popup = params.get("popup") !== null && onSignInPath();
  const code = onSignInPath() ? params.get("error") : null;
  const inside = session?.signed_in === true || session?.access_control === false || session === undefined;
  useEffect(() => {
    document.title = `${text.title} · ${s.shell.product}`;
  }, []);
  useEffect(() => {
    if (!inside || !onSignInPath()) return;
    if (popup) {
      announce();
      window.close();
    } else {
      window.location.replace(takeReturn());
    }
  }, [inside, popup]);
  const start = () => {
    const back = popup || onSignInPath() ? peekReturn() : here();
    rememberReturn(back);
    window.location.assign(oidcStart(back));
  };
  const [title, hint] = code === null ? [] : (text.errors[code] ?? text.unknownError(code));
  return (
    <main className="sign-in" id="main">
      <div className="panel sign-in-card">
        <div className="row"><img src={icon} alt="" width="24" height="24" /><strong>{s.shell.product}</strong></div>
        <h1>{text.title}</h1>
        {inside ? <p role="status">{text.popupDone}</p> : (
          <>
            <p className="muted">{text.hint}</p>
            {title && <div className="problem-box" role="alert"><strong>{title}</strong><span>{hint}</span></div>}
            <SignInForm session={session} onOidc={start} />
          </>
        )}
      </div>
    </main>
  );
}
