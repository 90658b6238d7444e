const PATHS = {
  home: "M2.5 7.5 8 3l5.5 4.5V13h-4V9.5h-3V13h-4z",
  list: "M3 4h10M3 8h10M3 12h6",
  graph: "M4 3.5a1.5 1.5 0 1 0 0 .1M12 8a1.5 1.5 0 1 0 0 .1M4 12.5a1.5 1.5 0 1 0 0 .1M5.5 4l5 3.4M5.5 12l5-3.4",
  service: "M3 3.5h10v3.5H3zM3 9h10v3.5H3zM5.3 5.2h.01M5.3 10.8h.01",
  check: "m3.5 8.5 3 3 6-7",
  cross: "m4 4 8 8M12 4l-8 8",
  alert: "M8 2.5 14 13H2zM8 6.5v3M8 11.3v.01",
  question: "M5.8 6a2.2 2.2 0 1 1 3.2 2c-.7.4-1 .8-1 1.5M8 11.9v.01",
  pause: "M5.5 3.5v9M10.5 3.5v9",
  play: "M5 3.2v9.6l7.5-4.8z",
  clock: "M8 2.2a5.8 5.8 0 1 0 .01 0M8 5v3.2l2 1.3",
  dot: "M8 6a2 2 0 1 0 .01 0",
  ring: "M8 3.5a4.5 4.5 0 1 0 .01 0",
  undo: "M5.5 4 2.8 6.7l2.7 2.7M3 6.7h6.2a3.3 3.3 0 0 1 0 6.6H6.5",
  undone: "M4.5 3 2 5.5 4.5 8M2.3 5.5h6.2a3 3 0 0 1 3 3M7.5 12l2 2 4-4.5",
  retry: "M12.6 6.2A5 5 0 1 0 13 9M13 3v3.4H9.6",
  stop: "M4.5 4.5h7v7h-7z",
  skip: "M3.5 4l5 4-5 4zM12 4v8",
  search: "M7 2.8a4.2 4.2 0 1 0 .01 0M10.2 10.2 13.5 13.5",
  menu: "M2.5 4.5h11M2.5 8h11M2.5 11.5h11",
  down: "m4 6.5 4 4 4-4",
  up: "m4 9.5 4-4 4 4",
  left: "M9.5 4 5.5 8l4 4",
  right: "m6.5 4 4 4-4 4",
  copy: "M5.5 5.5h7.5V13H5.5zM3 10.5V3h7.5",
  minus: "M3.5 8h9",
  fit: "M3 6V3h3M10 3h3v3M13 10v3h-3M6 13H3v-3",
  flag: "M4 14V2.5h8l-2 3 2 3H4",
  down_line: "M8 2.5v8M4.5 7.5 8 11l3.5-3.5M3 13.5h10",
  plus: "M8 3.5v9M3.5 8h9",
  sun: "M8 5.5a2.5 2.5 0 1 0 .01 0M8 1.5v1.2M8 13.3v1.2M1.5 8h1.2M13.3 8h1.2M3.4 3.4l.9.9M11.7 11.7l.9.9M12.6 3.4l-.9.9M4.3 11.7l-.9.9",
  keyboard: "M2 4.5h12v7H2zM4.5 7h.01M7 7h.01M9.5 7h.01M12 7h.01M5 9.5h6",
  lock: "M4 7.5h8V13H4zM5.8 7.5V5.3a2.2 2.2 0 0 1 4.4 0v2.2",
  crown: "M2.5 5 5 8l3-4 3 4 2.5-3-1 7h-9z",
  mail: "M2.5 4h11v8.5h-11zM2.5 4.5 8 9l5.5-4.5",
  calendar: "M3 4h10v9H3zM3 7h10M5.5 2.5V5M10.5 2.5V5",
  gear: "M8 5.8a2.2 2.2 0 1 0 .01 0M8 2v2M8 12v2M2 8h2M12 8h2M3.8 3.8l1.4 1.4M10.8 10.8l1.4 1.4M12.2 3.8l-1.4 1.4M5.2 10.8l-1.4 1.4",
  key: "M5.5 7.5a2.7 2.7 0 1 0 .01 0M7.6 8.6 13 3.2M10.5 5.5l1.8 1.8",
  book: "M3 3h4a1.5 1.5 0 0 1 1 1v9a1.5 1.5 0 0 0-1-1H3zM13 3H9a1.5 1.5 0 0 0-1 1v9a1.5 1.5 0 0 1 1-1h4z",
  cpu: "M4.5 4.5h7v7h-7zM6.5 2.5v2M9.5 2.5v2M6.5 11.5v2M9.5 11.5v2M2.5 6.5h2M2.5 9.5h2M11.5 6.5h2M11.5 9.5h2",
  columns: "M3 3.5h10v9H3zM6.4 3.5v9M9.7 3.5v9",
  star: "m8 2.8 1.6 3.3 3.6.5-2.6 2.5.6 3.6L8 11l-3.2 1.7.6-3.6L2.8 6.6l3.6-.5z",
  trash: "M3.5 4.5h9M6.3 4.5V3h3.4v1.5M4.7 4.5l.5 8.5h5.6l.5-8.5",
  pencil: "M3 13l.7-2.8L10.6 3.3l2.1 2.1-6.9 6.9z",
  layers: "M8 2.7 13.5 5.5 8 8.3 2.5 5.5zM2.7 8.2 8 10.9l5.3-2.7M2.7 10.7 8 13.4l5.3-2.7",
  user: "M8 3a2.5 2.5 0 1 0 .01 0M3 13.5c.6-2.8 2.5-4 5-4s4.4 1.2 5 4",
  queue: "M2.5 5h3v6h-3zM6.7 5h3v6h-3zM11 5h2.5v6H11z",
} as const;
export type IconName = keyof typeof PATHS;

/** A decorative icon. Its meaning is always also in text. */
export function Icon({ name }: { name: IconName }) {
  return (
    <svg className="icon" viewBox="0 0 16 16" aria-hidden="true" focusable="false">
      <path d={PATHS[name]} />
    </svg>
  );
}
