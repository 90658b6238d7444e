import { s } from "../strings";

const MS = { d: 86_400_000, h: 3_600_000, m: 60_000, s: 1_000 };

/** Formats a duration with at most two units: `250 ms`, `3.2 s`, `4 min 5 s`, `2 h 3 min`, `3 d 4 h`. */
export function formatDuration(ms: number): string {
  const value = Math.max(0, ms);
  if (value < MS.s) return `${Math.round(value)} ms`;
  if (value < 10 * MS.s) return `${(Math.floor(value / 100) / 10).toFixed(1)} s`;
  if (value < MS.m) return `${Math.floor(value / MS.s)} s`;
  const units: [number, string][] = [[MS.d, "d"], [MS.h, "h"], [MS.m, "min"], [MS.s, "s"]];
  const first = units.findIndex(([size]) => value >= size);
  const [big, small] = [units[first], units[first + 1]];
  if (!big) return "";
  const whole = `${Math.floor(value / big[0])} ${big[1]}`;
  const rest = small ? Math.floor((value % big[0]) / small[0]) : 0;
  return small && rest > 0 ? `${whole} ${rest} ${small[1]}` : whole;
}

/** Formats a distance from now with one unit. */
export function formatRelative(time: number, now: number): string {
  const distance = Math.abs(now - time);
  if (distance < 5 * MS.s) return s.ui.justNow;
  const units: [number, string][] = [[MS.d, "d"], [MS.h, "h"], [MS.m, "min"], [MS.s, "s"]];
  const unit = units.find(([size]) => distance >= size) ?? [MS.s, "s"];
  const text = `${Math.floor(distance / unit[0])} ${unit[1]}`;
  return time <= now ? s.ui.ago(text) : s.ui.within(text);
}

const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
const day = new Intl.DateTimeFormat("sv-SE", { year: "numeric", month: "2-digit", day: "2-digit" });

/** Local time: only the clock for today, else with the date. */
export function formatLocal(time: number, now: number): string {
  const text = clock.format(time);
  return day.format(time) === day.format(now) ? text : `${day.format(time)} ${text}`;
}
