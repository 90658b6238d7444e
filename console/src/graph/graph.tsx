// The drawing of a saga. Loaded on demand: React Flow and dagre are only in this chunk.
import { BaseEdge, getBezierPath, Handle, Position, ReactFlow, ReactFlowProvider, useReactFlow, type Edge, type EdgeProps, type Node, type NodeProps } from "@xyflow/react";
import "@xyflow/react/dist/base.css";
import { createContext, memo, useContext, useEffect, useMemo, useRef, useState, type CSSProperties } from "react";
import { s } from "../strings";
import { Button, Duration, Icon, statusIcon, statusLabel, statusTone } from "../ui";
import { layout } from "./layout";
import { isHorizontal, NODE, type SagaGraph, type StepEdge, type StepNode, type Way } from "./model";
import "./graph.css";

export interface GraphProps {
  graph: SagaGraph;
  label: string;
  way: Way;
  selected?: string | undefined;
  onSelect?: (step: string) => void;
}

interface Shown {
  horizontal: boolean;
  way: Way;
  selected: string | undefined;
  onSelect: ((step: string) => void) | undefined;
}
const Shown = createContext<Shown>({ horizontal: true, way: "both", selected: undefined, onSelect: undefined });

type StepFlowNode = Node<{ step: StepNode }, "step">;
type SagaFlowEdge = Edge<{ edge: StepEdge; place: number | undefined; far: boolean; near: boolean }, "saga">;

/** Steps outside the view are not drawn in larger graphs. The tree of steps shows them all. */
const MANY = 120;
/** Below this zoom, text cannot be read: the view begins at the steps that matter. */
const LEGIBLE = 0.5;

export default function Graph(props: GraphProps) {
  return (
    <ReactFlowProvider>
      <Canvas {...props} />
    </ReactFlowProvider>
  );
}

function Canvas({ graph, label, way, selected, onSelect }: GraphProps) {
  const box = useRef<HTMLDivElement>(null);
  const size = useSize(box);
  const shape = shapeOf(graph);
  // The layout depends on the shape of the graph and of the window, and not on statuses.
  const horizontal = useMemo(() => isHorizontal(graph, size?.width ?? 0, size?.height ?? 0), [shape, size?.width, size?.height]); // eslint-disable-line react-hooks/exhaustive-deps
  const places = useMemo(() => layout(graph, horizontal), [shape, horizontal]); // eslint-disable-line react-hooks/exhaustive-deps
  const nodes = useMemo(() => graph.nodes.map((step): StepFlowNode => ({
    id: step.name, type: "step", position: places.get(step.name) ?? { x: 0, y: 0 }, data: { step }, width: NODE.width, height: NODE.height,
    initialWidth: NODE.width, initialHeight: NODE.height,
  })), [graph, places]);
  const edges = useMemo(() => flowEdges(graph, way, horizontal, places), [graph, way, horizontal, places]);
  const shown = useMemo(() => ({ horizontal, way, selected, onSelect }), [horizontal, way, selected, onSelect]);
  return (
    <div ref={box} className="graph" role="group" aria-label={label}>
      {size && (
        <Shown value={shown}>
          <ReactFlow
            nodes={nodes} edges={edges} nodeTypes={nodeTypes} edgeTypes={edgeTypes}
            minZoom={0.1} maxZoom={1.5} nodesDraggable={false} nodesConnectable={false} nodesFocusable={false} edgesFocusable={false}
            elementsSelectable={false} onlyRenderVisibleElements={nodes.length > MANY} proOptions={{ hideAttribution: true }}
            zoomOnDoubleClick={false} preventScrolling={false} zoomOnScroll={false} panOnScroll={false} zoomActivationKeyCode={["Control", "Meta"]}
          >
            <Markers />
            <View graph={graph} shape={`${shape}|${horizontal}`} size={size} />
          </ReactFlow>
        </Shown>
      )}
      <Legend way={way} live={graph.live} />
    </div>
  );
}

/** The inputs of the layout. */
const shapeOf = (graph: SagaGraph) => `${graph.nodes.map((node) => node.name).join()}|${graph.edges.filter((edge) => edge.kind === "forward").map((edge) => `${edge.from}>${edge.to}`).join()}`;

function useSize(ref: React.RefObject<HTMLElement | null>) {
  const [size, setSize] = useState<{ width: number; height: number }>();
  useEffect(() => {
    if (!ref.current) return;
    const observer = new ResizeObserver(([entry]) => {
      const { width = 0, height = 0 } = entry?.contentRect ?? {};
      if (width > 0 && height > 0) setSize({ width: Math.round(width), height: Math.round(height) });
    });
    observer.observe(ref.current);
    return () => observer.disconnect();
  }, [ref]);
  return size;
}

/** Fits the view when the graph or the window changes, and has the buttons. */
function View({ graph, shape, size }: { graph: SagaGraph; shape: string; size: { width: number; height: number } }) {
  const flow = useReactFlow();
  const fit = (all: boolean) => {
    const bounds = flow.getNodesBounds(graph.nodes.map((node) => node.name));
    const zoom = Math.min(size.width / (bounds.width + 64), size.height / (bounds.height + 120));
    const focus = !all && zoom < LEGIBLE ? focusOf(graph) : graph.nodes;
    void flow.fitView({ nodes: focus.map((node) => ({ id: node.name })), padding: { x: "32px", y: "60px" }, maxZoom: all ? 1 : 1.1 });
  };
  const latest = useRef(fit);
  useEffect(() => {
    latest.current = fit;
  });
  useEffect(() => {
    const frame = requestAnimationFrame(() => latest.current(false));
    return () => cancelAnimationFrame(frame);
  }, [shape, size.width, size.height]);
  return (
    <div className="graph-controls">
      <Button small icon="plus" label={s.graph.zoomIn} onClick={() => void flow.zoomIn()} />
      <Button small icon="minus" label={s.graph.zoomOut} onClick={() => void flow.zoomOut()} />
      <Button small icon="fit" label={s.graph.fit} onClick={() => fit(true)} />
    </div>
  );
}

/** The steps that a person looks for in a large graph: those that failed or run, else the first ones. */
function focusOf(graph: SagaGraph): readonly StepNode[] {
  const busy = graph.nodes.filter((node) => node.status !== undefined && ["bad", "forward"].includes(statusTone(node.status)));
  return (busy.length > 0 ? busy : graph.nodes).slice(0, 6);
}

function flowEdges(graph: SagaGraph, way: Way, horizontal: boolean, places: ReadonlyMap<string, { x: number; y: number }>): SagaFlowEdge[] {
  const byName = new Map(graph.nodes.map((node) => [node.name, node]));
  const lanes = [...places.values()].map((place) => (horizontal ? place.y : place.x));
  const middle = (Math.min(...lanes) + Math.max(...lanes)) / 2;
  return graph.edges.filter((edge) => way === "both" || edge.kind === way).map((edge) => {
    const [from, to] = [places.get(edge.from), places.get(edge.to)];
    const [along, across] = horizontal ? (["x", "y"] as const) : (["y", "x"] as const);
    const distance = from && to ? Math.abs(from[along] - to[along]) : 0;
    const step = horizontal ? NODE.width : NODE.height;
    const near = edge.kind === "undo" && from !== undefined && to !== undefined && isNear(from[across], to[across], middle);
    const side = near ? "-near" : "";
    return {
      id: `${edge.kind}:${edge.from}:${edge.to}`, type: "saga", source: edge.from, target: edge.to, sourceHandle: `${edge.kind}-out${side}`, targetHandle: `${edge.kind}-in${side}`,
      data: { edge, place: byName.get(edge.to)?.undoPlace, far: distance > step * 1.8 && from?.[across] === to?.[across], near },
      zIndex: edge.kind === "undo" ? 1 : 0,
    };
  });
}

/** Whether an undo edge runs on the near side, above or to the left: it goes there, or lies in that half of the graph. */
function isNear(from: number, to: number, middle: number): boolean {
  return Math.abs(from - to) < 1 ? to < middle - 1 : to < from;
}

const StepBox = memo(function StepBox({ data }: NodeProps<StepFlowNode>) {
  const { step } = data;
  const { horizontal, way, selected, onSelect } = useContext(Shown);
  const tone = step.status === undefined ? "idle" : statusTone(step.status);
  const classes = ["step-box", `tone-${tone}`, step.status === "SKIPPED" ? "skipped" : "", step.status === "PENDING" ? "pending" : "",
    step.forEach ? "many" : "", step.name === selected ? "selected" : "", way === "undo" && !step.compensate ? "aside" : ""];
  return (
    <>
      <Handles horizontal={horizontal} />
      <button type="button" className={classes.join(" ")} aria-pressed={onSelect ? step.name === selected : undefined} onClick={() => onSelect?.(step.name)}>
        <span className="step-top">
          {step.status !== undefined && <Icon name={statusIcon(step.status)} />}
          <strong className="truncate">{step.title}</strong>
          {step.startedAt && step.status !== "SKIPPED" && <small><Duration from={step.startedAt} to={step.endedAt} /></small>}
        </span>
        <span className="step-mid">
          <span className="mono truncate">{step.action}</span>
          {step.attempts > 1 && <span className="step-count">×{step.attempts}</span>}
        </span>
        <span className="step-low">
          {step.elements ? <span className="truncate">{s.graph.elements(step.elements.ended, step.elements.total)}</span>
            : step.forEach ? <span className="truncate">{s.graph.forEach}</span>
              : step.conditions.length > 0 && !step.compensate ? <span className="truncate mono">{s.graph.condition(step.conditions.join(" && "))}</span> : null}
          {step.compensate && <Undo step={step} />}
        </span>
        <span className="sr-only">{describe(step)}</span>
      </button>
      {step.kind === "pivot" && <span className={`pivot-line ${horizontal ? "across" : "down"}`} title={s.graph.pivotHint}><i /><span>{s.graph.pivot}</span></span>}
    </>
  );
});

function Undo({ step }: { step: StepNode }) {
  return (
    <span className={`step-undo${step.undoIssued ? " issued" : ""}`}>
      <Icon name={step.status === "COMPENSATED" ? "undone" : "undo"} />
      <span className="mono truncate">{step.compensate}</span>
      {step.undoIssued && step.undoStartedAt && <small><Duration from={step.undoStartedAt} to={step.undoEndedAt} /></small>}
    </span>
  );
}

function describe(step: StepNode): string {
  const parts: string[] = [];
  if (step.status !== undefined) parts.push(statusLabel(step.status));
  if (step.attempts > 1) parts.push(s.graph.attempts(step.attempts));
  if (step.kind === "pivot") parts.push(s.graph.pivot);
  if (step.elements) parts.push(s.graph.elements(step.elements.ended, step.elements.total));
  if (step.undoPlace !== undefined && step.undoIssued) parts.push(s.graph.undo(step.undoPlace));
  return s.graph.nodeLabel(parts);
}

function Handles({ horizontal }: { horizontal: boolean }) {
  const [before, after, back, near] = horizontal ? [Position.Left, Position.Right, Position.Bottom, Position.Top] : [Position.Top, Position.Bottom, Position.Right, Position.Left];
  // The undo edges leave and arrive at the far side, a little apart.
  const at = (share: string): CSSProperties => (horizontal ? { left: share } : { top: share });
  return (
    <>
      <Handle id="forward-in" type="target" position={before} isConnectable={false} />
      <Handle id="forward-out" type="source" position={after} isConnectable={false} />
      <Handle id="undo-out" type="source" position={back} isConnectable={false} style={at("32%")} />
      <Handle id="undo-in" type="target" position={back} isConnectable={false} style={at("68%")} />
      <Handle id="undo-out-near" type="source" position={near} isConnectable={false} style={at("32%")} />
      <Handle id="undo-in-near" type="target" position={near} isConnectable={false} style={at("68%")} />
    </>
  );
}

function SagaEdge({ sourceX, sourceY, targetX, targetY, sourcePosition, targetPosition, data }: EdgeProps<SagaFlowEdge>) {
  const { horizontal } = useContext(Shown);
  if (!data) return null;
  const { edge, place, far } = data;
  const classes = `saga-edge ${edge.kind} ${edge.state}`;
  if (edge.kind === "forward") {
    const [path] = getBezierPath({ sourceX, sourceY, targetX, targetY, sourcePosition, targetPosition, curvature: 0.35 });
    return <BaseEdge path={path} className={classes} markerEnd={`url(#arrow-${edge.state === "taken" || edge.state === "running" ? "forward" : "idle"})`} />;
  }
  const depth = (far ? 84 : 52) * (data.near ? -1 : 1);
  // The control points lie beyond both ends, so that the edge goes around the steps between.
  const beyond = (a: number, b: number) => (data.near ? Math.min(a, b) : Math.max(a, b)) + depth;
  const [c1, c2] = horizontal
    ? [[sourceX, beyond(sourceY, targetY)], [targetX, beyond(sourceY, targetY)]]
    : [[beyond(sourceX, targetX), sourceY], [beyond(sourceX, targetX), targetY]];
  const path = `M${sourceX},${sourceY} C${c1.join()} ${c2.join()} ${targetX},${targetY}`;
  const middle = (a: number, b: number, c: number, d: number) => (a + 3 * b + 3 * c + d) / 8;
  const x = middle(sourceX, c1[0] ?? 0, c2[0] ?? 0, targetX);
  const y = middle(sourceY, c1[1] ?? 0, c2[1] ?? 0, targetY);
  return (
    <>
      <BaseEdge path={path} className={classes} markerEnd={`url(#arrow-undo${edge.state === "planned" ? "-planned" : ""})`} />
      {place !== undefined && <g className={`undo-place ${edge.state}`}><circle cx={x} cy={y} r={9} /><text x={x} y={y}>{place}</text></g>}
    </>
  );
}

const nodeTypes = { step: StepBox };
const edgeTypes = { saga: SagaEdge };

function Markers() {
  return (
    <svg className="graph-markers" aria-hidden="true">
      <defs>
        {["forward", "idle", "undo", "undo-planned"].map((kind) => (
          <marker key={kind} id={`arrow-${kind}`} className={`arrow ${kind}`} viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" markerUnits="userSpaceOnUse" orient="auto">
            <path d="M0.5 0.5 7.5 4 0.5 7.5z" />
          </marker>
        ))}
      </defs>
    </svg>
  );
}

function Legend({ way, live }: { way: Way; live: boolean }) {
  const { legend } = s.graph;
  return (
    <ul className="graph-legend" aria-label={s.graph.legendLabel}>
      {way !== "undo" && live && <li><Line kind="forward taken" />{legend.taken}</li>}
      {way !== "undo" && live && <li><Line kind="forward skipped" />{legend.skipped}</li>}
      {way !== "forward" && <li><Line kind="undo taken" />{legend.undo}</li>}
      {way !== "forward" && live && <li><Line kind="undo planned" />{legend.planned}</li>}
    </ul>
  );
}
function Line({ kind }: { kind: string }) {
  return <svg width="22" height="8" aria-hidden="true"><path className={`saga-edge ${kind}`} d="M1 4h20" /></svg>;
}
