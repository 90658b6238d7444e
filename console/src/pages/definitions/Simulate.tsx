import { useEffect, useMemo, useState } from "react";
import type { WorkflowGraph } from "../../api/insight";
import { formatJson, parseExact } from "../../api/json";
import { sagaGraph } from "../../graph/model";
import { StepGraph } from "../../graph/StepGraph";
import { s } from "../../strings";
import { Button, ErrorState, formatDuration, Icon, Loading, statusIcon, statusLabel, statusTone, StatusBadge, TextArea, useParam } from "../../ui";
import { useSimulation } from "./queries";
import { courseOf, FAULTS, leavesEffects, parseFail, stepOrder, stepsAfter, type Course, type Fail, type Fault, type Line, type Simulation } from "./simulation";
import "./simulate.css";

const text = s.simulate;
const PLAY_MS = 12_000;
const MAX_FRAME_MS = 700;

interface Props {
  name: string;
  version?: number | undefined;
  /** A text that is not applied. */
  draft?: string | undefined;
  /** The graph, if the server has one. A draft has none. */
  graph?: WorkflowGraph | undefined;
}

/** Every step with every failure, computed by the server, and one of these courses event by event. */
export function Simulate({ name, version, draft, graph }: Props) {
  const [chosen, setChosen] = useParam("fail");
  const [input, setInput] = useState<unknown>();
  const all = useSimulation({ name, version, draft, input });
  const order = useMemo(() => orderOf(all.data, graph), [all.data, graph]);
  const courses = all.data?.courses ?? [];
  const wanted = parseFail(chosen);
  const fail = wanted && courseOf(courses, wanted) ? wanted : undefined;
  const fault: Fault = wanted?.fault ?? "refused";
  const pick = (next: Fail | undefined) => setChosen(next ? `${next.step}=${next.fault}` : "");
  const pickStep = (step: string) => {
    const possible = [fault, ...FAULTS].find((each) => courseOf(courses, { step, fault: each }));
    if (possible) pick({ step, fault: possible });
  };
  if (all.isError && !all.isPlaceholderData) return <div className="panel"><ErrorState error={all.error} onRetry={() => void all.refetch()} /></div>;
  if (!all.data) return <div className="panel"><Loading lines={8} /></div>;
  return (
    <div className={`simulate${graph ? "" : " narrow"}`}>
      <section className="panel simulate-table" aria-label={text.title}>
        <div className="panel-head"><h2>{text.title}</h2></div>
        <div className="panel-body stack">
          <p className={`verdict tone-${all.data.holds ? "good" : "undo"}`}><Icon name={all.data.holds ? "check" : "alert"} />{all.data.holds ? text.holds : text.broken}</p>
          <Matrix courses={courses} order={order} titles={titlesOf(graph)} fail={fail} onPick={pick} />
          <p className="muted">{text.hint}</p>
          <Input simulation={all.data} own={input !== undefined} onChange={setInput} />
        </div>
      </section>
      <CourseDetail key={`${chosen}|${draft ?? ""}`} request={{ name, version, draft, input }} course={courseOf(courses, fail)} fail={fail} graph={graph} order={order} onStep={pickStep} />
    </div>
  );
}

function orderOf(simulation: Simulation | undefined, graph: WorkflowGraph | undefined): string[] {
  return graph ? graph.nodes.map((node) => node.name) : stepOrder(simulation?.courses ?? []);
}

const titlesOf = (graph: WorkflowGraph | undefined): ReadonlyMap<string, string> => new Map(graph?.nodes.map((node) => [node.name, node.title || node.name]));

interface MatrixProps {
  courses: readonly Course[];
  order: readonly string[];
  titles: ReadonlyMap<string, string>;
  fail: Fail | undefined;
  onPick: (fail: Fail | undefined) => void;
}

function Matrix({ courses, order, titles, fail, onPick }: MatrixProps) {
  const clean = courseOf(courses, undefined);
  return (
    <div className="matrix-scroll">
      <table className="matrix">
        <thead>
          <tr>
            <th scope="col">{text.step}</th>
            {FAULTS.map((fault) => <th key={fault} scope="col" title={text.faultHints[fault]}>{text.faults[fault]}</th>)}
          </tr>
        </thead>
        <tbody>
          {clean && (
            <tr>
              <th scope="row">{text.noFault}</th>
              <td colSpan={FAULTS.length}><Cell course={clean} label={text.cell(text.noFault, "", statusLabel(clean.end))} chosen={fail === undefined} onPick={() => onPick(undefined)} /></td>
            </tr>
          )}
          {order.map((step) => (
            <tr key={step}>
              <th scope="row" title={step}>{titles.get(step) ?? step}</th>
              {FAULTS.map((fault) => {
                const course = courseOf(courses, { step, fault });
                return (
                  <td key={fault}>
                    {course ? (
                      <Cell course={course} label={text.cell(titles.get(step) ?? step, text.faults[fault], statusLabel(course.end))}
                        chosen={fail?.step === step && fail.fault === fault} onPick={() => onPick({ step, fault })} />
                    ) : <span className="muted" title={text.notPossible}>–</span>}
                  </td>
                );
              })}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

function Cell({ course, label, chosen, onPick }: { course: Course; label: string; chosen: boolean; onPick: () => void }) {
  const stays = leavesEffects(course);
  return (
    <button type="button" className={`cell tone-${stays ? "bad" : statusTone(course.end)}`} aria-pressed={chosen} onClick={onPick}
      aria-label={stays ? `${label}, ${text.stays}` : label} title={stays ? text.staysHint(course.standing.join(", ")) : label}>
      <Icon name={statusIcon(course.end)} /><span>{statusLabel(course.end)}</span>
    </button>
  );
}

function Input({ simulation, own, onChange }: { simulation: Simulation; own: boolean; onChange: (input: unknown) => void }) {
  const [typed, setTyped] = useState<string>();
  const [invalid, setInvalid] = useState(false);
  const shown = typed ?? formatJson(simulation.input);
  return (
    <details className="simulate-input">
      <summary>{text.changeInput}</summary>
      <div className="stack">
        <TextArea label={text.input} hint={text.inputHint} className="mono" rows={Math.min(12, shown.split("\n").length)} spellCheck={false} value={shown}
          problem={invalid ? text.invalidInput : undefined} onChange={(event) => {
            setTyped(event.target.value);
            setInvalid(false);
          }} />
        <div className="row">
          <Button onClick={() => {
            try {
              onChange(parseExact(shown));
            } catch {
              setInvalid(true);
            }
          }}>{text.applyInput}</Button>
          {own && <Button tone="plain" onClick={() => {
            setTyped(undefined);
            onChange(undefined);
          }}>{text.resetInput}</Button>}
        </div>
      </div>
    </details>
  );
}

interface DetailProps {
  request: { name: string; version?: number | undefined; draft?: string | undefined; input?: unknown };
  course: Course | undefined;
  fail: Fail | undefined;
  graph: WorkflowGraph | undefined;
  order: readonly string[];
  onStep: (step: string) => void;
}

function CourseDetail({ request, course, fail, graph, order, onStep }: DetailProps) {
  const detail = useSimulation({ ...request, fail: fail && `${fail.step}=${fail.fault}`, enabled: fail !== undefined });
  const fetched = fail && !detail.isPlaceholderData ? detail.data?.courses[0] : undefined;
  const shown = fetched ?? course;
  const lines = useMemo(() => fetched?.timeline ?? [], [fetched]);
  const player = usePlayer(lines.length);
  const nodes = useMemo(() => graph?.nodes ?? order.map((name) => ({ name })), [graph, order]);
  const steps = useMemo(() => (lines.length > 0 ? stepsAfter(nodes, lines, player.at) : undefined), [nodes, lines, player.at]);
  const saga = useMemo(() => graph && sagaGraph(graph, steps), [graph, steps]);
  if (!shown) return null;
  const title = fail ? text.course(titlesOf(graph).get(fail.step) ?? fail.step, text.faults[fail.fault]) : text.noFault;
  const statusNow = (step: string, otherwise: string) => steps?.find((each) => each.name === step)?.status ?? otherwise;
  return (
    <section className="panel simulate-course" aria-label={title}>
      <div className="panel-head">
        <h2>{title}</h2>
        <span className="row"><span className="muted num">{text.ends} {text.at(formatDuration(shown.duration_ms))}</span><StatusBadge status={shown.end} /></span>
      </div>
      {fail && <Player player={player} lines={lines} />}
      {saga && (
        <div className="simulate-graph">
          <StepGraph graph={saga} label={text.graph} way="both" selected={fail?.step} onSelect={onStep} />
        </div>
      )}
      <div className="panel-body stack">
        {graph && !fail && <p className="muted">{text.clickHint}</p>}
        {shown.note && <p className="verdict tone-undo"><Icon name="alert" />{shown.note}</p>}
        {leavesEffects(shown) && <p className="verdict tone-bad"><Icon name="alert" />{text.staysHint(shown.standing.join(", "))}</p>}
        <div className="lanes">
          <Lane title={text.forward} tone="forward" sides={shown.forward} status={(side) => (steps ? forwardStatus(statusNow(side.step, side.status), side.status) : side.status)} onStep={onStep} />
          <Lane title={text.undo} tone="undo" sides={shown.undo} empty={text.noUndo} status={(side) => (steps ? undoStatus(statusNow(side.step, side.status)) : side.status)} onStep={onStep} />
        </div>
        {fail && <Events lines={lines} player={player} />}
      </div>
    </section>
  );
}

/** Before a compensation begins, its step has a status of the way forward. */
const undoStatus = (status: string) => (status.startsWith("COMPENSAT") ? status : "PENDING");

/** The way forward keeps its outcome while its steps are undone. */
const forwardStatus = (status: string, outcome: string) => (status.startsWith("COMPENSAT") ? outcome : status);

type Side = Course["forward"][number];
interface LaneProps {
  title: string;
  tone: "forward" | "undo";
  sides: readonly Side[];
  status: (side: Side) => string;
  empty?: string;
  onStep: (step: string) => void;
}

function Lane({ title, tone, sides, status, empty, onStep }: LaneProps) {
  return (
    <div className={`lane ${tone}`}>
      <h3>{title}</h3>
      {sides.length === 0 ? <p className="muted">{empty}</p> : (
        <ol>
          {sides.map((side, index) => (
            <li key={side.step} className={`tone-${statusTone(status(side))}`}>
              <button type="button" onClick={() => onStep(side.step)}>
                <b className="num">{index + 1}</b>
                <span className="truncate">{side.step}</span>
                {side.attempts > 1 && <small className="muted num">{text.attempts(side.attempts)}</small>}
                <StatusBadge status={status(side)} bare />
              </button>
            </li>
          ))}
        </ol>
      )}
    </div>
  );
}

interface PlayerState {
  /** The number of events that have happened. */
  at: number;
  playing: boolean;
  seek: (at: number) => void;
  toggle: () => void;
}

/** Plays the events of a course. It begins at the end, so that the result is seen first. */
function usePlayer(total: number): PlayerState {
  const [position, setPosition] = useState<number>();
  const [playing, setPlaying] = useState(false);
  const at = Math.min(position ?? total, total);
  const running = playing && at < total;
  useEffect(() => {
    if (!running) return;
    const timer = setTimeout(() => setPosition(at + 1), Math.min(MAX_FRAME_MS, PLAY_MS / Math.max(1, total)));
    return () => clearTimeout(timer);
  }, [running, at, total]);
  return {
    at,
    playing: running,
    seek: (next) => {
      setPlaying(false);
      setPosition(Math.max(1, Math.min(total, next)));
    },
    toggle: () => {
      if (!running && at >= total) setPosition(1);
      setPlaying(!running);
    },
  };
}

function Player({ player, lines }: { player: PlayerState; lines: readonly Line[] }) {
  const line = lines[player.at - 1];
  return (
    <div className="player">
      <Button small tone="primary" icon={player.playing ? "pause" : "play"} disabled={lines.length === 0} onClick={player.toggle}>{player.playing ? text.pause : text.play}</Button>
      <Button small tone="plain" icon="left" label={text.previous} disabled={player.at <= 1} onClick={() => player.seek(player.at - 1)} />
      <input type="range" aria-label={text.position} min={1} max={Math.max(1, lines.length)} value={player.at || 1} disabled={lines.length === 0}
        aria-valuetext={line ? `${eventText(line)} ${line.step ?? ""}` : undefined} onChange={(event) => player.seek(Number(event.target.value))} />
      <Button small tone="plain" icon="right" label={text.next} disabled={player.at >= lines.length} onClick={() => player.seek(player.at + 1)} />
      <span className="num muted">{text.event(player.at, lines.length)}</span>
    </div>
  );
}

/** `STEP_QUEUED` as `Step queued`. */
function eventText(line: Line): string {
  const words = line.type.toLowerCase().replaceAll("_", " ");
  return words.charAt(0).toUpperCase() + words.slice(1);
}

const toneOf = (line: Line): string => {
  if (/COMPENSAT|ROLLBACK|ROLLED/.test(line.type)) return line.type.endsWith("FAILED") ? "bad" : "undo";
  if (/FAILED|UNKNOWN/.test(line.type)) return "bad";
  return line.type.endsWith("COMPLETED") ? "good" : "forward";
};

function Events({ lines, player }: { lines: readonly Line[]; player: PlayerState }) {
  if (lines.length === 0) return <Loading lines={4} />;
  return (
    <div>
      <h3>{text.events}</h3>
      <ol className="sim-events">
        {lines.map((line, index) => (
          <li key={line.seq} className={`tone-${toneOf(line)}${index >= player.at ? " later" : ""}`}>
            <button type="button" aria-current={index === player.at - 1 ? "step" : undefined} onClick={() => player.seek(index + 1)}>
              <span className="num muted">{formatDuration(line.at_ms)}</span>
              <i aria-hidden="true" />
              <span>{eventText(line)}</span>
              <span className="mono">{line.step}</span>
              <span className="muted">{line.detail}</span>
            </button>
          </li>
        ))}
      </ol>
    </div>
  );
}
