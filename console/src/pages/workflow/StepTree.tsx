import type { WorkflowStep } from "../../api/types";
import type { SagaGraph, StepNode, Way } from "../../graph/model";
import { s } from "../../strings";
import { Duration, Icon, StatusBadge } from "../../ui";
import { stepTree, type TreeItem } from "./tree";

const text = s.workflow;

interface Props {
  graph: SagaGraph;
  steps: readonly WorkflowStep[];
  way: Way;
  selected?: string | undefined;
  onSelect: (step: string) => void;
}

/** The steps as a list: the graph in words, and the view on small screens. Undo is in the order of the rollback. */
export function StepTree({ graph, steps, way, selected, onSelect }: Props) {
  const errors = new Map(steps.map((step) => [step.name, step.error]));
  const undone = graph.nodes.filter((node) => node.undoIssued).sort((a, b) => (a.undoPlace ?? 0) - (b.undoPlace ?? 0));
  const row = (node: StepNode) => <StepRow key={node.name} node={node} error={errors.get(node.name)} selected={node.name === selected} onSelect={onSelect} />;
  return (
    <div className="tree">
      {way !== "undo" && <><h3>{text.forwardPart}</h3><ol aria-label={text.tree}>{stepTree(graph.nodes).map((item) => <Item key={"step" in item ? item.step.name : item.block} item={item} row={row} />)}</ol></>}
      {way !== "forward" && undone.length > 0 && (
        <>
          <h3 className="undo-text">{text.undoPart}</h3>
          <ol aria-label={text.undoPart}>{undone.map((node) => <li key={node.name}><UndoRow node={node} selected={node.name === selected} onSelect={onSelect} /></li>)}</ol>
        </>
      )}
    </div>
  );
}

function Item({ item, row }: { item: TreeItem; row: (node: StepNode) => React.ReactNode }) {
  if ("step" in item) return <li>{row(item.step)}</li>;
  return (
    <li className="tree-block">
      <span className="muted mono">{item.block}</span>
      <ol>{item.items.map((each) => <Item key={"step" in each ? each.step.name : each.block} item={each} row={row} />)}</ol>
    </li>
  );
}

function StepRow({ node, error, selected, onSelect }: { node: StepNode; error: WorkflowStep["error"] | undefined; selected: boolean; onSelect: (step: string) => void }) {
  return (
    <>
      <button type="button" className={`tree-row${selected ? " selected" : ""}`} aria-pressed={selected} onClick={() => onSelect(node.name)}>
        <StatusBadge status={node.status ?? "PENDING"} />
        <strong>{node.title}</strong>
        <span className="mono muted tree-action">{node.action}</span>
        <span className="muted num tree-end">
          {node.attempts > 1 && <>×{node.attempts} </>}
          {node.startedAt && node.status !== "SKIPPED" && <Duration from={node.startedAt} to={node.endedAt} />}
        </span>
        {node.elements && <span className="muted tree-note">{s.graph.elements(node.elements.ended, node.elements.total)}</span>}
        {error && <span className="tree-note bad-text"><span className="mono">{error.code}</span> {error.message}</span>}
      </button>
      {node.kind === "pivot" && <p className="tree-pivot"><Icon name="flag" />{s.graph.pivot}</p>}
    </>
  );
}

function UndoRow({ node, selected, onSelect }: { node: StepNode; selected: boolean; onSelect: (step: string) => void }) {
  return (
    <button type="button" className={`tree-row${selected ? " selected" : ""}`} aria-pressed={selected} onClick={() => onSelect(node.name)}>
      <span className="place num">{node.undoPlace}</span>
      <StatusBadge status={node.status ?? "PENDING"} />
      <strong>{node.title}</strong>
      <span className="mono muted tree-action">{node.compensate}</span>
      <span className="muted num tree-end"><Duration from={node.undoStartedAt} to={node.undoEndedAt} /></span>
    </button>
  );
}
