import { s } from "../../strings";

/** Parses lines of `name: value`. Empty lines are skipped. Returns the problem of the first wrong line. */
export function parsePairs(text: string): { pairs: Record<string, string>; problem?: string } {
  const pairs: Record<string, string> = {};
  for (const line of text.split("\n").map((each) => each.trim()).filter(Boolean)) {
    const colon = line.indexOf(":");
    const [name, value] = [line.slice(0, colon).trim(), line.slice(colon + 1).trim()];
    if (colon < 1 || name === "" || value === "") return { pairs, problem: s.services.badLine(line) };
    pairs[name] = value;
  }
  return { pairs };
}

export function formatPairs(pairs: Record<string, unknown> | null | undefined): string {
  return Object.entries(pairs ?? {}).map(([name, value]) => `${name}: ${String(value)}`).join("\n");
}

/** Parses a whole number above 0. Empty is undefined. */
function parseCount(text: string): { count?: number; problem?: string } {
  const trimmed = text.trim();
  if (trimmed === "") return {};
  return /^[1-9]\d{0,8}$/.test(trimmed) ? { count: Number(trimmed) } : { problem: s.services.badNumber(trimmed) };
}

export interface ServiceDraft {
  url: string;
  headers: string;
  limit: string;
  actions: string;
}

/** The body of a service, or the first problem of the draft. */
export function serviceBody(draft: ServiceDraft): { body: Record<string, unknown>; problem?: string } {
  const headers = parsePairs(draft.headers);
  const limit = parseCount(draft.limit);
  const actions = parsePairs(draft.actions);
  let problem = headers.problem ?? limit.problem ?? actions.problem;
  const limits: Record<string, unknown> = {};
  for (const [name, text] of Object.entries(actions.pairs)) {
    const { count, problem: wrong } = parseCount(text);
    problem ??= wrong;
    limits[name] = { max_in_flight: count };
  }
  const url = draft.url.trim();
  return {
    body: {
      ...(url !== "" && { http: { url, ...(Object.keys(headers.pairs).length > 0 && { headers: headers.pairs }) } }),
      ...(limit.count !== undefined && { max_in_flight: limit.count }),
      ...(Object.keys(limits).length > 0 && { actions: limits }),
    },
    ...(problem !== undefined && { problem }),
  };
}
