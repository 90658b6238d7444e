import { useMemo, useState } from "react";
import type { WorkflowGraph } from "../../api/insight";
import { sagaGraph } from "../../graph/model";
import { StepGraph } from "../../graph/StepGraph";
import { s } from "../../strings";
import { Badge } from "../../ui";
import { diffGraphs, diffLines, hunks, type DiffLine, type StepChange } from "./diff";

const text = s.definitions;

/** The differences of two texts, with unchanged parts folded. */
export function TextDiff({ before, after, label }: { before: string; after: string; label: string }) {
  const lines = useMemo(() => diffLines(before, after), [before, after]);
  const parts = useMemo(() => hunks(lines), [lines]);
  const [opened, setOpened] = useState<ReadonlySet<number>>(new Set());
  const added = lines.filter((line) => line.kind === "added").length;
  const removed = lines.filter((line) => line.kind === "removed").length;
  if (added + removed === 0) return <p className="muted">{text.sameText}</p>;
  return (
    <>
      <p className="muted num" role="status">{text.lines(added, removed)}</p>
      {/* A scrolling area must be reachable by keyboard. */}
      {/* eslint-disable-next-line jsx-a11y/no-noninteractive-tabindex */}
      <div className="diff text-diff" role="region" aria-label={label} tabIndex={0}>
        <table>
          <thead className="sr-only"><tr><th>{text.lineBefore}</th><th>{text.lineAfter}</th><th>{text.textChanges}</th></tr></thead>
          {parts.map((part, index) => (
            <tbody key={index}>
              {part.folded && !opened.has(index) ? (
                <tr className="fold"><td colSpan={3}><button type="button" onClick={() => setOpened(new Set(opened).add(index))}>{text.showUnchanged(part.lines.length)}</button></td></tr>
              ) : part.lines.map((line, at) => <Line key={at} line={line} />)}
            </tbody>
          ))}
        </table>
      </div>
    </>
  );
}

function Line({ line }: { line: DiffLine }) {
  const mark = line.kind === "added" ? "+" : line.kind === "removed" ? "−" : " ";
  return (
    <tr className={line.kind}>
      <td className="num">{line.before}</td>
      <td className="num">{line.after}</td>
      <td><span aria-hidden="true">{mark} </span>{line.kind !== "same" && <span className="sr-only">{line.kind === "added" ? s.ui.added : s.ui.removed} </span>}{line.text}</td>
    </tr>
  );
}

const LOOK = { added: ["good", "plus", text.stepAdded], removed: ["bad", "cross", text.stepRemoved], changed: ["undo", "pencil", text.stepChanged] } as const;

/** The differences of two graphs as a list, and both graphs next to each other. A chosen change is marked in both. */
export function GraphDiff({ before, after }: { before: WorkflowGraph; after: WorkflowGraph }) {
  const changes = useMemo(() => diffGraphs(before, after), [before, after]);
  const [step, setStep] = useState<string>();
  const graphs = useMemo(() => [before, after].map((graph) => ({ graph, saga: sagaGraph(graph) })), [before, after]);
  const equal = changes.steps.length + changes.addedEdges.length + changes.removedEdges.length === 0;
  return (
    <div className="stack">
      {equal ? <p className="muted">{text.sameGraph}</p> : (
        <ul className="graph-changes">
          {changes.steps.map((change) => <li key={change.step}><StepChangeEntry change={change} chosen={change.step === step} onChoose={() => setStep(change.step)} /></li>)}
          {changes.addedEdges.length > 0 && <li><Badge tone="good" icon="plus">{text.edgesAdded}</Badge> <span className="mono">{changes.addedEdges.join(", ")}</span></li>}
          {changes.removedEdges.length > 0 && <li><Badge tone="bad" icon="cross">{text.edgesRemoved}</Badge> <span className="mono">{changes.removedEdges.join(", ")}</span></li>}
        </ul>
      )}
      {!equal && (
        <div className="graph-pair">
          {graphs.map(({ graph, saga }) => (
            <figure key={graph.version}>
              <figcaption>{text.old(graph.version)}</figcaption>
              <div className="graph-frame"><StepGraph graph={saga} label={text.graphOf(text.old(graph.version))} way="both" selected={step} onSelect={setStep} /></div>
            </figure>
          ))}
        </div>
      )}
    </div>
  );
}

function StepChangeEntry({ change, chosen, onChoose }: { change: StepChange; chosen: boolean; onChoose: () => void }) {
  const [tone, icon, label] = LOOK[change.kind];
  return (
    <>
      <Badge tone={tone} icon={icon}>{label}</Badge>{" "}
      <button type="button" className="link mono" aria-pressed={chosen} onClick={onChoose}>{change.step}</button>
      {change.fields.map((field) => (
        <span key={field.name} className="field-change">
          <span className="muted">{text.fields[field.name] ?? field.name}</span> <del>{field.before || text.nothing}</del> → <ins>{field.after || text.nothing}</ins>
        </span>
      ))}
    </>
  );
}
