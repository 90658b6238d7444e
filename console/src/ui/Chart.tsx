import { lazy, Suspense } from "react";

export interface Series {
  label: string;
  /** A design token, such as `--forward`. */
  colour: string;
  values: readonly (number | null)[];
}

export interface ChartProps {
  /** The text alternative: the chart in one sentence. */
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
