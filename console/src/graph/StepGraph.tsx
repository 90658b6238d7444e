import { lazy, Suspense } from "react";
import { s } from "../strings";
import { Loading } from "../ui";
import type { GraphProps } from "./graph";
import type { Way } from "./model";

const Graph = lazy(() => import("./graph"));

/** The graph of a saga: `<StepGraph graph={sagaGraph(…)} …>`. Its code is loaded when it is first shown. */
export function StepGraph(props: GraphProps) {
  return (
    <Suspense fallback={<Loading lines={6} />}>
      <Graph {...props} />
    </Suspense>
  );
}

/** The switch between the directions of a graph. */
export function WaySwitch({ way, onChange }: { way: Way; onChange: (way: Way) => void }) {
  return (
    <div className="switch" role="group" aria-label={s.graph.way}>
      {(["forward", "undo", "both"] as const).map((each) => (
        <button key={each} type="button" aria-pressed={way === each} onClick={() => onChange(each)}>{s.graph.ways[each]}</button>
      ))}
    </div>
  );
}
