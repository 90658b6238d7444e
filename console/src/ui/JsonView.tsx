import { useVirtualizer } from "@tanstack/react-virtual";
import { useDeferredValue, useMemo, useRef, useState } from "react";
import { formatJson, isRawNumber } from "../api/json";
import { s } from "../strings";
import { Button } from "./Button";
import { CopyButton } from "./CopyAs";
import { Icon } from "./Icon";
import { findMatches, flatten, scalarText, type JsonLine } from "./json-tree";

const LINE_HEIGHT = 20;
const OPEN_DEPTH = 3;
const MAX_SHOWN_TEXT = 2_000;

/** A JSON value as a virtual tree with search and copy. `compact` leaves the search out, for small values. */
export function JsonView({ value, label, compact }: { value: unknown; label: string; compact?: boolean }) {
  const [toggled, setToggled] = useState<ReadonlyMap<string, boolean>>(new Map());
  const [depth, setDepth] = useState(OPEN_DEPTH);
  const [search, setSearch] = useState("");
  const text = useDeferredValue(search);
  const found = useMemo(() => findMatches(value, text), [value, text]);
  const lines = useMemo(
    () => flatten(value, (path, at) => found.open.has(path) || (toggled.get(path) ?? at < depth)),
    [value, toggled, depth, found],
  );
  const scroll = useRef<HTMLDivElement>(null);
  const virtualizer = useVirtualizer({
    count: lines.length,
    getScrollElement: () => scroll.current,
    estimateSize: () => LINE_HEIGHT,
    overscan: 20,
  });
  const toggle = (line: JsonLine) => setToggled(new Map(toggled).set(line.path, !line.open));
  const setAll = (to: number) => {
    setToggled(new Map());
    setDepth(to);
  };
  return (
    <div className={`json${compact ? " compact" : ""}`}>
      {compact ? <div className="json-copy"><CopyButton text={() => formatJson(value)} /></div> : <div className="json-bar">
        <input className="input" type="search" aria-label={s.ui.jsonSearch} placeholder={s.common.search} value={search}
          onChange={(event) => setSearch(event.target.value)} />
        <span className="muted num" role="status">{text !== "" && s.ui.matches(found.matches.size)}</span>
        <Button tone="plain" small onClick={() => setAll(Infinity)}>{s.ui.expandAll}</Button>
        <Button tone="plain" small onClick={() => setAll(1)}>{s.ui.collapseAll}</Button>
        <CopyButton text={() => formatJson(value)} />
      </div>}
      {/* A scrolling area must be reachable by keyboard. */}
      {/* eslint-disable-next-line jsx-a11y/no-noninteractive-tabindex */}
      <div ref={scroll} className="json-scroll" role="region" aria-label={label} tabIndex={0}>
        <div className="json-inner" style={{ height: virtualizer.getTotalSize() }}>
          {virtualizer.getVirtualItems().map((item) => {
            const line = lines[item.index];
            return line && (
              <Line key={line.path} line={line} top={item.start} match={found.matches.has(line.path)} onToggle={() => toggle(line)} />
            );
          })}
        </div>
      </div>
    </div>
  );
}

function Line({ line, top, match, onToggle }: { line: JsonLine; top: number; match: boolean; onToggle: () => void }) {
  const container = line.size !== undefined && line.size > 0;
  return (
    <div className={`json-line${match ? " match" : ""}`} style={{ transform: `translateY(${top}px)`, paddingLeft: 8 + line.depth * 16 }}>
      {container ? (
        <button type="button" className="json-toggle button plain small" aria-expanded={line.open}
          aria-label={`${line.open ? s.ui.collapse : s.ui.expand} ${line.key ?? ""}`} onClick={onToggle}>
          <Icon name={line.open ? "down" : "right"} />
        </button>
      ) : <span className="json-toggle" />}
      {line.key !== undefined && <><span className="json-key">{line.key}</span>{": "}</>}
      <Value line={line} />
    </div>
  );
}

function Value({ line }: { line: JsonLine }) {
  const { value, size } = line;
  if (size !== undefined) {
    const list = Array.isArray(value);
    if (size === 0) return <span>{list ? "[]" : "{}"}</span>;
    return <span className="json-note">{list ? `[ ${s.ui.items(size)} ]` : `{ ${s.ui.fields(size)} }`}</span>;
  }
  const text = scalarText(value);
  const kind = typeof value === "string" ? "string" : typeof value === "number" || isRawNumber(value) ? "number" : "literal";
  return <span className={`json-${kind}`}>{text.length > MAX_SHOWN_TEXT ? `${text.slice(0, MAX_SHOWN_TEXT)}…` : text}</span>;
}
