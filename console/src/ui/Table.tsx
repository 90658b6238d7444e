import { useVirtualizer } from "@tanstack/react-virtual";
import { useEffect, useRef, useState, type KeyboardEvent, type ReactNode } from "react";
import { s } from "../strings";
import { Icon } from "./Icon";

export interface Column<T> {
  id: string;
  header: string;
  cell: (row: T) => ReactNode;
  /** A CSS grid track. Default: `minmax(0, 1fr)`. */
  width?: string;
  align?: "end";
  /** The column is not shown if the table is narrower, in pixels. */
  from?: number;
  sortable?: boolean;
}

export interface Sort {
  column: string;
  descending: boolean;
}

interface Props<T> {
  label: string;
  columns: readonly Column<T>[];
  rows: readonly T[];
  rowKey: (row: T) => string;
  onOpen?: (row: T) => void;
  sort?: Sort;
  onSort?: (sort: Sort) => void;
  selected?: ReadonlySet<string>;
  onSelect?: (selected: ReadonlySet<string>) => void;
  /** Called when the end of the loaded rows is near. */
  onEnd?: (() => void) | undefined;
  /** The height follows the rows, without virtual scrolling. For short lists inside a page. */
  auto?: boolean;
  foot?: ReactNode;
  empty?: ReactNode;
}

const ROW_HEIGHT = 34;
const END_DISTANCE = 20;
const SELECT_WIDTH = "1.25rem";

/**
 * A list of rows as an ARIA grid. Arrow keys, `j`/`k`, Home, End, Page Up and Page Down move, Enter opens, Space selects.
 * Rows are virtual: only the visible ones are in the document.
 */
export function Table<T>(props: Props<T>) {
  const { rows, columns, rowKey, auto, onEnd } = props;
  const scroll = useRef<HTMLDivElement>(null);
  const [active, setActive] = useState(0);
  const width = useWidth(scroll);
  const shown = columns.filter((column) => width === 0 || column.from === undefined || width >= column.from);
  const virtualizer = useVirtualizer({
    count: auto ? 0 : rows.length,
    getScrollElement: () => scroll.current,
    estimateSize: () => ROW_HEIGHT,
    overscan: 12,
    scrollPaddingStart: 30,
    getItemKey: (index) => {
      const row = rows[index];
      return row === undefined ? index : rowKey(row);
    },
  });
  const items = virtualizer.getVirtualItems();
  const last = items.at(-1)?.index ?? 0;
  useEffect(() => {
    if (!auto && rows.length > 0 && last >= rows.length - END_DISTANCE) onEnd?.();
  }, [auto, last, rows.length, onEnd]);
  const focusRow = (index: number) => {
    const to = Math.max(0, Math.min(rows.length - 1, index));
    setActive(to);
    if (!auto) virtualizer.scrollToIndex(to);
    requestAnimationFrame(() => scroll.current?.querySelector<HTMLElement>(`[data-index="${to}"]`)?.focus());
  };
  const keys = (event: KeyboardEvent<HTMLDivElement>) => handleKeys(event, props, active, focusRow);
  const tracks = [props.onSelect && SELECT_WIDTH, ...shown.map((column) => column.width ?? "minmax(0, 1fr)")];
  const grid = tracks.filter(Boolean).join(" ");
  const row = (index: number, top?: number) => {
    const value = rows[index];
    return value === undefined ? null : (
      <Row key={rowKey(value)} value={value} index={index} top={top} grid={grid} columns={shown} table={props}
        active={index === Math.min(active, rows.length - 1)} onFocus={() => setActive(index)} />
    );
  };
  return (
    <div className="table" style={auto ? { flex: "none" } : undefined}>
      <div ref={scroll} className={`table-scroll${auto ? " auto" : ""}`}>
        <div role="grid" tabIndex={-1} aria-label={props.label} aria-rowcount={rows.length + 1} aria-colcount={shown.length}
          aria-multiselectable={props.onSelect ? true : undefined} onKeyDown={keys}>
          <Head {...props} columns={shown} grid={grid} />
          <div role="rowgroup" style={auto ? undefined : { height: virtualizer.getTotalSize(), position: "relative" }}>
            {auto ? rows.map((_, index) => row(index)) : items.map((item) => row(item.index, item.start))}
          </div>
        </div>
        {rows.length === 0 && props.empty}
      </div>
      {props.foot && <div className="table-foot">{props.foot}</div>}
    </div>
  );
}

function Head<T>({ columns, grid, sort, onSort, rows, rowKey, selected, onSelect }: Props<T> & { grid: string }) {
  const all = selected !== undefined && rows.length > 0 && rows.every((row) => selected.has(rowKey(row)));
  return (
    <div role="rowgroup">
      <div role="row" aria-rowindex={1} className="tr head" style={{ gridTemplateColumns: grid }}>
        {onSelect && (
          <span role="columnheader" className="th">
            <input type="checkbox" aria-label={s.ui.selectAll} checked={all}
              onChange={() => onSelect(new Set(all ? [] : rows.map(rowKey)))} />
          </span>
        )}
        {columns.map((column) => {
          const sorted = sort?.column === column.id;
          const order = sorted ? (sort.descending ? "descending" : "ascending") : undefined;
          return (
            <span key={column.id} role="columnheader" aria-sort={order} className={`th ${column.align ?? ""}`}>
              {column.sortable && onSort ? (
                <button type="button" aria-label={s.ui.sortBy(column.header)}
                  onClick={() => onSort({ column: column.id, descending: sorted ? !sort.descending : false })}>
                  {column.header}
                  {sorted && <Icon name={sort.descending ? "down" : "up"} />}
                </button>
              ) : column.header}
            </span>
          );
        })}
      </div>
    </div>
  );
}

interface RowProps<T> {
  value: T;
  index: number;
  top: number | undefined;
  grid: string;
  columns: readonly Column<T>[];
  table: Props<T>;
  active: boolean;
  onFocus: () => void;
}

function Row<T>({ value, index, top, grid, columns, table, active, onFocus }: RowProps<T>) {
  const { onOpen, onSelect, selected, rowKey } = table;
  const isSelected = selected?.has(rowKey(value)) ?? false;
  const place = top === undefined ? {} : { height: ROW_HEIGHT, transform: `translateY(${top}px)` };
  return (
    // The grid handles the keys of its rows.
    // eslint-disable-next-line jsx-a11y/click-events-have-key-events
    <div
      role="row"
      aria-rowindex={index + 2}
      aria-selected={onSelect ? isSelected : undefined}
      data-index={index}
      tabIndex={active ? 0 : -1}
      className={`tr body${onOpen ? " openable" : ""}`}
      style={{ gridTemplateColumns: grid, ...place }}
      onFocus={onFocus}
      onClick={(event) => {
        const target = event.target as HTMLElement;
        if (target.closest("a,button,input") || window.getSelection()?.toString()) return;
        onOpen?.(value);
      }}
    >
      {onSelect && (
        <span role="gridcell" className="td">
          <input type="checkbox" tabIndex={-1} aria-label={s.ui.selectRow} checked={isSelected}
            onChange={() => onSelect(toggled(selected, rowKey(value)))} />
        </span>
      )}
      {columns.map((column) => (
        <span key={column.id} role="gridcell" className={`td ${column.align ?? ""}`}>{column.cell(value)}</span>
      ))}
    </div>
  );
}

function toggled(selected: ReadonlySet<string> | undefined, key: string): ReadonlySet<string> {
  const next = new Set(selected);
  if (!next.delete(key)) next.add(key);
  return next;
}

function handleKeys<T>(event: KeyboardEvent<HTMLDivElement>, props: Props<T>, active: number, focusRow: (index: number) => void): void {
  const target = event.target as HTMLElement;
  if (target.getAttribute("role") !== "row" || event.ctrlKey || event.metaKey || event.altKey) return;
  const { rows } = props;
  const moves: Record<string, number> = {
    ArrowDown: active + 1, j: active + 1, ArrowUp: active - 1, k: active - 1,
    PageDown: active + 15, PageUp: active - 15, Home: 0, End: rows.length - 1,
  };
  const to = moves[event.key];
  const row = rows[active];
  if (to !== undefined) focusRow(to);
  else if (event.key === "Enter" && row !== undefined && props.onOpen) props.onOpen(row);
  else if ((event.key === " " || event.key === "x") && row !== undefined && props.onSelect) {
    props.onSelect(toggled(props.selected, props.rowKey(row)));
  } else return;
  event.preventDefault();
}

/** The width of an element in pixels, 0 before the first measurement. */
function useWidth(ref: React.RefObject<HTMLElement | null>): number {
  const [width, setWidth] = useState(0);
  useEffect(() => {
    const element = ref.current;
    if (!element || typeof ResizeObserver === "undefined") return;
    const observer = new ResizeObserver(([entry]) => setWidth(Math.round(entry?.contentRect.width ?? 0)));
    observer.observe(element);
    return () => observer.disconnect();
  }, [ref]);
  return width;
}
