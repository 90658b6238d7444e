import { type CallOptions, type Calls, unary } from "./calls.js";
import { GoConductorError } from "./errors.js";
import {
  type Schedule as WireSchedule, ScheduleOverlap, type ScheduleServiceClient,
} from "./generated/goconductor/v1/schedule.js";
import { toJson } from "./handle.js";
import { fromDuration, fromTimestamp, toDuration, toTimestamp } from "./time.js";
import { nameOf, type Status } from "./view.js";

/** The policy for a due time while a workflow of the schedule is running. */
export type Overlap = "SKIP" | "BUFFER_ONE" | "ALLOW" | "CANCEL_OTHER";

/** The definition that a schedule starts, and its due times. Either `cron` or `everyMs` is set. */
export interface ScheduleSpec {
  /** The name of the definition. */
  definition: string;
  /** A version of the definition (default: the newest one at each start). */
  version?: number;
  /** 5 fields, or 6 with the seconds first, or a name such as @daily. */
  cron?: string;
  /** The IANA name of the time zone of the pattern (default: UTC). */
  timezone?: string;
  /** An interval of at least one second. */
  everyMs?: number;
  /** A due time of the interval (default: 1970-01-01T00:00:00Z). */
  anchor?: Date;
  /** The policy while a workflow is running (default: SKIP). */
  overlap?: Overlap;
  /** The age up to which missed due times are started (default: one hour). */
  catchUpMs?: number;
  /** The input, which is converted to JSON (default: {}). The text `${ schedule.time }` stands for the due time. */
  input?: unknown;
  /** Labels of the workflows. */
  labels?: Readonly<Record<string, string>>;
}

/** A workflow of a schedule. */
export interface ScheduleRun {
  workflowId: string;
  due: Date | undefined;
  /** due, buffered, backfill or trigger. */
  kind: string;
  status: Status;
}

/** A schedule with its state. */
export interface Schedule {
  name: string;
  definition: string;
  /** 0 means the newest version at each start. */
  version: number;
  cron: string;
  timezone: string;
  everyMs: number;
  anchor: Date | undefined;
  overlap: Overlap | "";
  catchUpMs: number;
  inputJson: string;
  labels: Readonly<Record<string, string>>;
  /** Rises with each change by a user. */
  generation: bigint;
  paused: boolean;
  nextDue: Date | undefined;
  lastDue: Date | undefined;
  /** The numbers of due times. */
  started: bigint;
  skipped: bigint;
  missed: bigint;
  failed: bigint;
  /** The newest workflows, newest first. */
  recent: readonly ScheduleRun[];
}

/** The schedules of a namespace. {@link Client.schedules} returns them. */
export class Schedules {
  readonly #calls: Calls;
  readonly #client: ScheduleServiceClient;

  /** @internal */
  constructor(calls: Calls, client: ScheduleServiceClient) {
    this.#calls = calls;
    this.#client = client;
  }

  /** Creates or replaces a schedule. */
  async put(name: string, spec: ScheduleSpec, options?: CallOptions): Promise<Schedule> {
    const request = {
      name,
      ifGeneration: undefined,
      spec: {
        definition: spec.definition,
        version: spec.version ?? 0,
        cron: spec.cron ?? "",
        timezone: spec.timezone ?? "",
        every: spec.everyMs === undefined ? undefined : toDuration(spec.everyMs),
        anchor: spec.anchor === undefined ? undefined : toTimestamp(spec.anchor),
        overlap: spec.overlap === undefined
          ? ScheduleOverlap.SCHEDULE_OVERLAP_UNSPECIFIED
          : ScheduleOverlap[`SCHEDULE_OVERLAP_${spec.overlap}`],
        catchUp: spec.catchUpMs === undefined ? undefined : toDuration(spec.catchUpMs),
        inputJson: spec.input === undefined ? "" : toJson("input", spec.input),
        labels: { ...spec.labels },
      },
    };
    const response = await unary(this.#calls, this.#client.putSchedule.bind(this.#client), request, options);
    return scheduleOf(response.schedule);
  }

  /** Returns a schedule with the statuses of its newest workflows. */
  async get(name: string, options?: CallOptions): Promise<Schedule> {
    const response = await unary(this.#calls, this.#client.getSchedule.bind(this.#client), { name }, options);
    return scheduleOf(response.schedule);
  }

  /** Yields the schedules of the namespace, ordered by name. */
  async *list(options?: CallOptions): AsyncGenerator<Schedule, void, undefined> {
    for (let pageToken = "";;) {
      const request = { pageSize: 0, pageToken };
      const page = await unary(this.#calls, this.#client.listSchedules.bind(this.#client), request, options);
      for (const schedule of page.schedules) {
        yield scheduleOf(schedule);
      }
      pageToken = page.nextPageToken;
      if (pageToken === "") {
        return;
      }
    }
  }

  /** Deletes a schedule. Its workflows continue. */
  async delete(name: string, options?: CallOptions): Promise<void> {
    const request = { name, ifGeneration: undefined };
    await unary(this.#calls, this.#client.deleteSchedule.bind(this.#client), request, options);
  }

  /** Pauses a schedule: only a trigger then starts a workflow. */
  async pause(name: string, reason: string, options?: CallOptions): Promise<void> {
    await unary(this.#calls, this.#client.pauseSchedule.bind(this.#client), { name, reason }, options);
  }

  /** Resumes a paused schedule. Due times during the pause are skipped. */
  async resume(name: string, reason: string, options?: CallOptions): Promise<void> {
    await unary(this.#calls, this.#client.resumeSchedule.bind(this.#client), { name, reason }, options);
  }

  /** Starts a workflow of a schedule now, regardless of its overlap policy. Returns the id of the workflow. */
  async trigger(name: string, options?: CallOptions): Promise<string> {
    const response = await unary(this.#calls, this.#client.triggerSchedule.bind(this.#client), { name }, options);
    return response.workflowId;
  }

  /** Starts the due times of a past range, both ends included, regardless of the overlap policy. */
  async backfill(name: string, from: Date, until: Date, options?: CallOptions): Promise<void> {
    const request = { name, from: toTimestamp(from), until: toTimestamp(until) };
    await unary(this.#calls, this.#client.backfillSchedule.bind(this.#client), request, options);
  }

  /** Returns the next due times of a schedule, at most 1000. */
  async dueTimes(name: string, count: number, options?: CallOptions): Promise<Date[]> {
    const response = await unary(this.#calls, this.#client.listDueTimes.bind(this.#client), { name, count }, options);
    return response.dueTimes.flatMap((time) => fromTimestamp(time) ?? []);
  }
}

function scheduleOf(wire: WireSchedule | undefined): Schedule {
  const spec = wire?.spec;
  if (wire === undefined || spec === undefined) {
    throw new GoConductorError("other", "the response of the gateway has no schedule");
  }
  return {
    name: wire.name,
    definition: spec.definition,
    version: spec.version,
    cron: spec.cron,
    timezone: spec.timezone,
    everyMs: fromDuration(spec.every),
    anchor: fromTimestamp(spec.anchor),
    overlap: nameOf(ScheduleOverlap, spec.overlap, "SCHEDULE_OVERLAP_") as Overlap | "",
    catchUpMs: fromDuration(spec.catchUp),
    inputJson: spec.inputJson,
    labels: spec.labels,
    generation: wire.generation,
    paused: wire.paused !== undefined,
    nextDue: fromTimestamp(wire.nextDue),
    lastDue: fromTimestamp(wire.lastDue),
    started: wire.started,
    skipped: wire.skipped,
    missed: wire.missed,
    failed: wire.failed,
    recent: wire.recent.map((run) => ({
      workflowId: run.workflowId,
      due: fromTimestamp(run.due),
      kind: run.kind,
      status: run.status.toUpperCase() as Status,
    })),
  };
}
