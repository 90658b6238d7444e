import { useEffect, useRef } from "react";
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import type { ChartProps } from "./Chart";
import { useTheme } from "./theme";

const token = (name: string) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

export default function Plot({ times, series, height = 160, format }: ChartProps) {
  const host = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot>(undefined);
  const theme = useTheme().resolved;
  const names = series.map((each) => `${each.label}${each.colour}`).join();
  const data = useRef<uPlot.AlignedData>([[]]);
  const look = useRef({ series, format });
  useEffect(() => {
    data.current = [[...times], ...series.map((each) => [...each.values])];
    look.current = { series, format };
    plot.current?.setData(data.current);
  }, [times, series, format]);
  useEffect(() => {
    const element = host.current;
    if (!element) return;
    const axis = { stroke: token("--muted"), grid: { stroke: token("--line"), width: 1 }, ticks: { show: false }, font: `11px ${token("--font")}` };
    const { series: drawn, format: text } = look.current;
    const options: uPlot.Options = {
      width: element.clientWidth, height, legend: { show: false }, cursor: { y: false },
      axes: [axis, { ...axis, size: 48, values: (_, ticks) => ticks.map((tick) => (text ? text(tick) : String(tick))) }],
      series: [{}, ...drawn.map((each) => ({ label: each.label, stroke: token(each.colour), width: 1.5, points: { show: false } }))],
    };
    const chart = new uPlot(options, data.current, element);
    plot.current = chart;
    const observer = new ResizeObserver(() => chart.setSize({ width: element.clientWidth, height }));
    observer.observe(element);
    return () => {
      observer.disconnect();
      chart.destroy();
      plot.current = undefined;
    };
  }, [names, height, theme]);
  return <div ref={host} />;
}
