import { lazy, Suspense } from "react";

export interface Series {
  label: string;
  /** A design token, such as `--forward`. */
  colour: string;
  values: readonly (number | null)[];
}

export interface ChartProps {
  /** What the chart shows, in one sentence: its text alternative. */
  label: string;
  /** Times in seconds since 1970, ascending. */
  times: readonly number[];
  series: readonly Series[];
  height?: number;
  format?: (value: number) => string;
}

const Plot = lazy(() => import("./plot"));

/** A time series. Its code is loaded when it is first shown. */
export function Chart(props: ChartProps) {
  return (
    <figure className="chart" role="img" aria-label={props.label} style={{ minHeight: props.height ?? 160 }}>
      <Suspense fallback={null}>
        <Plot {...props} />
      </Suspense>
    </figure>
  );
}
