import { useMemo } from "react";
import { FINAL_STATUSES, type Workflow } from "../../api/types";
import { s } from "../../strings";
import { Empty, formatDuration, Loading, useNow } from "../../ui";
import { useHistory } from "./history";
import { foldTime, lanesOf, marksOf, placeOf, rangeOf, type Lane, type Part, type Segment } from "./timeline";

const text = s.workflow;
const MARKS = 6;
/** A running workflow moves its axis this often. */
const TICK_MS = 1_000;
/** More segments of one lane are too narrow to distinguish. */
const MAX_SEGMENTS = 200;

interface Props {
  workflow: Workflow;
  selected: string | undefined;
  onSelect: (step: string) => void;
}

/** When each attempt ran: forward above, undo below. */
export function TimelineTab({ workflow, selected, onSelect }: Props) {
  const history = useHistory(workflow.id, !FINAL_STATUSES.includes(workflow.status));
  const { forward, undo } = useMemo(() => lanesOf(history.entries.map((entry) => entry.event)), [history.entries]);
  const now = useNow(TICK_MS);
  const all = useMemo(() => [...forward, ...undo], [forward, undo]);
  const [from, to] = rangeOf(workflow, all, workflow.ended_at ? 0 : now);
  const parts = useMemo(() => foldTime(all, from, to), [all, from, to]);
  if (history.entries.length === 0 && history.state === "loading") return <Loading lines={8} />;
  if (all.length === 0) return <Empty title={text.noTimeline} />;
  const titles = new Map(workflow.steps.map((step) => [step.name, step.title || step.name]));
  const rows = (lanes: readonly Lane[]) => lanes.map((lane) => (
    <Row key={`${lane.side}${lane.step}`} lane={lane} title={titles.get(lane.step) ?? lane.step} parts={parts} end={to} selected={lane.step === selected} onSelect={onSelect} />
  ));
  return (
    <div className="timeline">
      <div className="timeline-axis" aria-hidden="true">
        <span />
        <div className="timeline-track">
          {parts.filter((part) => part.folded).map((part) => <span key={`fold${part.from}`} className="mark fold-mark num" style={{ left: `${(part.at + part.share / 2) * 100}%` }}>⋯ {formatDuration(part.to - part.from)}</span>)}
          {marksOf(parts, from, MARKS).map((mark) => <span key={mark.after} className="mark num" style={{ left: `${mark.at * 100}%` }}>{mark.after === 0 ? "0" : formatDuration(mark.after)}</span>)}
        </div>
      </div>
      <div className="timeline-lanes">
        <div className="timeline-back" aria-hidden="true">
          <span />
          <div className="timeline-track">
            {parts.filter((part) => part.folded).map((part) => (
              <span key={part.from} className="time-fold" style={{ left: `${part.at * 100}%`, width: `${part.share * 100}%` }} title={text.idle(formatDuration(part.to - part.from))} />
            ))}
          </div>
        </div>
        <h3>{text.forwardPart}</h3>
        <ol aria-label={text.forwardPart}>{rows(forward)}</ol>
        {undo.length > 0 && <><h3 className="undo-text">{text.undoPart}</h3><ol aria-label={text.undoPart}>{rows(undo)}</ol></>}
      </div>
      <ul className="timeline-legend" aria-label={s.graph.legendLabel}>
        {(["queue", "attempt", "backoff", "wait"] as const).map((kind) => <li key={kind}><i className={`segment ${kind}`} />{text.segment[kind]}</li>)}
      </ul>
    </div>
  );
}

function Row({ lane, title, parts, end, selected, onSelect }: { lane: Lane; title: string; parts: readonly Part[]; end: number; selected: boolean; onSelect: (step: string) => void }) {
  const segments = lane.segments.slice(-MAX_SEGMENTS);
  const attempts = lane.segments.filter((segment) => segment.kind === "attempt");
  const last = attempts.at(-1);
  const label = [s.graph.attempts(attempts.length), last && formatDuration((last.to ?? end) - last.from), last?.note].filter(Boolean).join(", ");
  return (
    <li>
      <button type="button" className={`timeline-row${selected ? " selected" : ""}`} aria-pressed={selected} onClick={() => onSelect(lane.step)}>
        <span className="timeline-name"><span className="truncate">{title}</span>{attempts.length > 1 && <small className="muted num">×{attempts.length}</small>}</span>
        <span className="timeline-track">
          <span className="sr-only">{label}</span>
          {segments.map((segment, index) => <Bar key={index} segment={segment} side={lane.side} parts={parts} end={end} />)}
        </span>
      </button>
    </li>
  );
}

function Bar({ segment, side, parts, end }: { segment: Segment; side: Lane["side"]; parts: readonly Part[]; end: number }) {
  const [left, right] = [placeOf(parts, segment.from), placeOf(parts, segment.to ?? end)];
  const duration = (segment.to ?? end) - segment.from;
  const name = segment.kind === "attempt" && segment.attempt > 0 ? `${text.segment["attempt"] ?? ""} ${segment.attempt}` : text.segment[segment.kind];
  const tone = segment.outcome && segment.outcome !== "COMPLETED" ? "bad" : side === "compensate" ? "undo" : "forward";
  return (
    <i className={`segment ${segment.kind} tone-${tone}${segment.to === undefined ? " open" : ""}`} style={{ left: `${left * 100}%`, width: `${(right - left) * 100}%` }}
      title={[`${name ?? ""} · ${formatDuration(duration)}`, segment.note].filter(Boolean).join("\n")} />
  );
}
