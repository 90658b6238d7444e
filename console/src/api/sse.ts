import { parseExact } from "./json";
import { problemOf, type ApiError } from "./problem";
import { currentNamespace, notifyUnauthorized } from "./session";

export interface StreamMessage {
  id: string;
  event: string;
  data: unknown;
}

export interface StreamOptions {
  path: string;
  /** The id of the last message that the caller has. Sent as `Last-Event-ID`. */
  lastEventId?: string;
  onMessage: (message: StreamMessage) => void;
  /** Called when the stream is open. `again` is true after an interruption. */
  onOpen?: (again: boolean) => void;
  /** Called when the stream is interrupted. It is opened again after a delay, except after a refusal. */
  onInterrupted?: (refusal: ApiError | undefined) => void;
  /** Called when the server ends the stream in an orderly manner. Return false to not open it again. */
  onEnd?: () => boolean;
}

const FIRST_DELAY_MS = 500;
const MAX_DELAY_MS = 15_000;
/** The server sends a comment every 15 s. A connection without bytes for longer is broken. */
const SILENCE_MS = 40_000;

/** The delay before attempt `attempt` (from 0), with full jitter above one half. */
export function backoff(attempt: number, random: number): number {
  const delay = Math.min(MAX_DELAY_MS, FIRST_DELAY_MS * 2 ** Math.min(attempt, 10));
  return delay / 2 + (delay / 2) * random;
}

/** Incremental parser of server-sent events. */
export class SseParser {
  private rest = "";
  private event = "";
  private id = "";
  private lines: string[] = [];

  push(chunk: string): StreamMessage[] {
    const messages: StreamMessage[] = [];
    const lines = (this.rest + chunk).split(/\r?\n/);
    this.rest = lines.pop() ?? "";
    for (const line of lines) {
      if (line !== "") this.field(line);
      else if (this.lines.length > 0) messages.push(this.take());
    }
    return messages;
  }

  private field(line: string): void {
    const colon = line.indexOf(":");
    if (colon === 0) return;
    const name = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
    if (name === "data") this.lines.push(value);
    else if (name === "event") this.event = value;
    else if (name === "id") this.id = value;
  }

  private take(): StreamMessage {
    const data = this.lines.join("\n");
    const message = { id: this.id, event: this.event || "message", data: parseExact(data) };
    this.lines = [];
    this.event = "";
    return message;
  }
}

/** Follows a stream until the returned function is called. It reconnects with backoff and resumes by `Last-Event-ID`. */
export function openStream(options: StreamOptions): () => void {
  const closed = new AbortController();
  void follow(options, closed.signal);
  return () => closed.abort();
}

async function follow(options: StreamOptions, closed: AbortSignal): Promise<void> {
  let lastId = options.lastEventId ?? "";
  let opened = false;
  for (let attempt = 0; !closed.aborted; ) {
    const outcome = await connect(options, closed, lastId, {
      opened: () => {
        options.onOpen?.(opened);
        opened = true;
        attempt = 0;
      },
      received: (message) => {
        if (message.id !== "") lastId = message.id;
        options.onMessage(message);
      },
    });
    if (closed.aborted) return;
    if (outcome.ended && options.onEnd?.() === false) return;
    options.onInterrupted?.(outcome.refusal);
    if (outcome.refusal && !outcome.refusal.retryable && outcome.refusal.status < 500) return;
    await delay(backoff(attempt, Math.random()), closed);
    attempt += 1;
  }
}

interface Outcome {
  ended: boolean;
  refusal?: ApiError;
}

async function connect(
  options: StreamOptions,
  closed: AbortSignal,
  lastId: string,
  on: { opened: () => void; received: (message: StreamMessage) => void },
): Promise<Outcome> {
  const silence = new AbortController();
  let timer = setTimeout(() => silence.abort(), SILENCE_MS);
  try {
    const headers: Record<string, string> = { accept: "text/event-stream", "GoConductor-Namespace": currentNamespace() };
    if (lastId !== "") headers["Last-Event-ID"] = lastId;
    const response = await fetch(options.path, { headers, signal: AbortSignal.any([closed, silence.signal]) });
    if (!response.ok || !response.body) {
      if (response.status === 401) notifyUnauthorized();
      const body: unknown = await response.json().catch(() => undefined);
      return { ended: false, refusal: problemOf(response.status, body) };
    }
    on.opened();
    const parser = new SseParser();
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return { ended: true };
      clearTimeout(timer);
      timer = setTimeout(() => silence.abort(), SILENCE_MS);
      for (const message of parser.push(value)) on.received(message);
    }
  } catch {
    return { ended: false };
  } finally {
    clearTimeout(timer);
  }
}

function delay(ms: number, closed: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(done, ms);
    function done(): void {
      clearTimeout(timer);
      closed.removeEventListener("abort", done);
      resolve();
    }
    closed.addEventListener("abort", done);
  });
}
