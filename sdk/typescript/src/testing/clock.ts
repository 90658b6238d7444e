import { messageOf } from "../errors.js";

/** How long a request may take. The server waits up to five seconds until nothing is in flight. */
const requestTimeoutMs = 30_000;

/** The response to a request to move the clock. */
export interface Move {
  /** The duration by which the clock was moved. */
  advancedMs: number;
  /** `busy`: work is due or in flight. `nothing_due`: nothing waits for a time. The clock was not moved in both cases. */
  result: "advanced" | "busy" | "nothing_due";
  /** The rows and schedules that are due. */
  due: number;
  /** The commands in flight, and the timers that fire. */
  inFlight: number;
}

/**
 * Moves the clock to the next time that is due, by at most a duration. The server waits some seconds until nothing is in
 * flight.
 */
export async function toNextDue(url: string, atMostMs: number | undefined): Promise<Move> {
  const limit = atMostMs === undefined ? {} : { at_most: `${Math.ceil(atMostMs)}ms` };
  let response: Response;
  let text: string;
  try {
    response = await fetch(`${url}/dev/clock/advance`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ to: "next", ...limit }),
      signal: AbortSignal.timeout(requestTimeoutMs),
    });
    text = await response.text();
  } catch (cause) {
    throw new Error(`the clock was not moved: ${messageOf(cause)}`, { cause });
  }
  if (!response.ok) {
    throw new Error(`the clock was not moved: ${response.status} ${response.statusText}: ${text}`);
  }
  const moved = JSON.parse(text) as { advanced_us: number; result: Move["result"]; due: number; in_flight: number };
  return { advancedMs: moved.advanced_us / 1000, result: moved.result, due: moved.due, inFlight: moved.in_flight };
}

/** Returns the error that the clock was not moved because of work. */
export function busy({ due, inFlight }: Move): Error {
  const advice = "does each service have a worker?";
  return new Error(`the clock was not moved: ${due} rows are due and ${inFlight} are in flight; ${advice}`);
}
