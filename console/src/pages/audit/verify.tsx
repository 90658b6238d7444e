import { useEffect, useRef, useState } from "react";
import { api, data } from "../../api/client";
import { readAll } from "../../api/paged";
import { s } from "../../strings";
import { Button, Dialog, Icon, ProblemBox } from "../../ui";
import { sha256, Verifier, type Break } from "./chain";
import { readRecords } from "./records";

const text = s.audit;
const SHOWN_BREAKS = 20;

type State =
  | { step: "ready" }
  | { step: "running"; done: number; total: number }
  | { step: "done"; count: number; hash: string; breaks: readonly Break[]; whole: boolean }
  | { step: "failed"; error: unknown };

/** Reads all records, computes their hashes and shows each break of the chain. */
export function VerifyDialog({ onClose }: { onClose: () => void }) {
  const [state, setState] = useState<State>({ step: "ready" });
  const stop = useRef<AbortController>(undefined);
  useEffect(() => () => stop.current?.abort(), []);
  const start = async () => {
    if (!sha256) return;
    const control = new AbortController();
    stop.current = control;
    try {
      const head = await data(api.GET("/api/v1/audit/head"));
      const verifier = new Verifier(sha256);
      let count = 0;
      setState({ step: "running", done: 0, total: head.seq });
      await readAll((token) => readRecords({}, "oldest", token, control.signal), async (rows, done) => {
        await verifier.add(rows);
        count = done;
        setState({ step: "running", done, total: Math.max(done, head.seq) });
      }, control.signal);
      if (!control.signal.aborted) verifier.end(head);
      setState({ step: "done", count, hash: verifier.last.hash, breaks: verifier.breaks, whole: !control.signal.aborted });
    } catch (error) {
      if (!control.signal.aborted) setState({ step: "failed", error });
    }
  };
  const running = state.step === "running";
  return (
    <Dialog title={text.verifyTitle} onClose={onClose} foot={
      <>
        <Button onClick={onClose}>{s.common.close}</Button>
        {running ? <Button onClick={() => stop.current?.abort()}>{text.verifyStop}</Button>
          : <Button tone="primary" disabled={!sha256} onClick={() => void start()}>{text.verifyStart}</Button>}
      </>
    }>
      <p>{text.verifyHint}</p>
      {!sha256 && <p className="form-problem" role="alert">{text.noCrypto}</p>}
      {running && (
        <div role="status">
          <progress aria-label={text.verifyTitle} max={Math.max(1, state.total)} value={state.done} />
          <span className="num">{text.verifying(state.done, state.total)}</span>
        </div>
      )}
      {state.step === "failed" && <ProblemBox error={state.error} />}
      {state.step === "done" && <Result {...state} />}
    </Dialog>
  );
}

function Result({ count, hash, breaks, whole }: { count: number; hash: string; breaks: readonly Break[]; whole: boolean }) {
  if (breaks.length > 0) {
    return (
      <div className="problem-box" role="alert">
        <strong>{text.broken(breaks.length)}</strong>
        <ul>{breaks.slice(0, SHOWN_BREAKS).map((each, index) => <li key={index}>{text.breaks[each.kind](each.seq)}</li>)}</ul>
      </div>
    );
  }
  return (
    <div className={`notice tone-${whole ? "good" : "undo"}`} role="status">
      <Icon name={whole ? "check" : "stop"} />
      <strong>{whole ? text.verified(count) : text.stopped(count)}</strong>
      {count > 0 && <span className="muted">{text.verifiedHint(hash)}</span>}
    </div>
  );
}
