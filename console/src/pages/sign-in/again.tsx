import { useState } from "react";
import type { Session } from "../../api/access";
import { oidcStart, POPUP_RETURN } from "../../api/sign-in";
import { s } from "../../strings";
import { SignInForm } from "./form";
import { Modal } from "./modal";
import "./sign-in.css";

const text = s.session;

/** Asks for another sign-in over the page. The page below keeps its state. */
export default function SignInAgain({ session }: { session: Session }) {
  const [blocked, setBlocked] = useState(false);
  // A navigation of this window would lose what was entered on the page.
  const start = () => setBlocked(window.open(oidcStart(POPUP_RETURN), "goconductor-sign-in", "width=520,height=680") === null);
  return (
    <Modal title={text.again}>
      <p>{text.againHint}</p>
      {session.sign_in.includes("oidc") && <p className="muted">{text.inNewWindow}</p>}
      {blocked && <p role="alert" className="blocked">{text.popupBlocked}</p>}
      <SignInForm session={session} onOidc={start} />
    </Modal>
  );
}
