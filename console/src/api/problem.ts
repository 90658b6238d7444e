import { s } from "../strings";

export interface ProblemLocation {
  pointer: string;
  code: string;
  detail: string;
  line?: number | null;
  column?: number | null;
}

/** An error response of the API (`application/problem+json`), or a failure to reach the API. */
export class ApiError extends Error {
  override readonly name = "ApiError";
  /** The HTTP status, or 0 if no response arrived. */
  readonly status: number;
  /** The stable code, such as `GC2010`. Empty if the API did not answer. */
  readonly code: string;
  readonly title: string;
  readonly detail: string;
  readonly retryable: boolean;
  readonly traceId: string;
  readonly errors: readonly ProblemLocation[];

  constructor(fields: {
    status: number;
    code?: string;
    title: string;
    detail?: string;
    retryable?: boolean;
    traceId?: string;
    errors?: readonly ProblemLocation[];
  }) {
    super(fields.detail ? `${fields.title}: ${fields.detail}` : fields.title);
    this.status = fields.status;
    this.code = fields.code ?? "";
    this.title = fields.title;
    this.detail = fields.detail ?? "";
    this.retryable = fields.retryable ?? false;
    this.traceId = fields.traceId ?? "";
    this.errors = fields.errors ?? [];
  }
}

const isRecord = (value: unknown): value is Record<string, unknown> => typeof value === "object" && value !== null;
const text = (value: unknown): string => (typeof value === "string" ? value : "");

/** Converts the body of an error response. A proxy may answer with a body that is not a problem. */
export function problemOf(status: number, body: unknown): ApiError {
  if (!isRecord(body)) return new ApiError({ status, title: s.errors.unexpected(status), detail: text(body).slice(0, 300) });
  return new ApiError({
    status,
    code: text(body.code),
    title: text(body.title) || s.errors.unexpected(status),
    detail: text(body.detail),
    retryable: body.retryable === true,
    traceId: text(body.trace_id),
    errors: Array.isArray(body.errors) ? (body.errors as ProblemLocation[]) : [],
  });
}

/** Converts anything that was thrown. */
export function toApiError(error: unknown): ApiError {
  if (error instanceof ApiError) return error;
  if (error instanceof TypeError) {
    return new ApiError({ status: 0, title: s.errors.unreachable, detail: s.errors.unreachableHint, retryable: true });
  }
  return new ApiError({ status: 0, title: s.errors.console, detail: error instanceof Error ? error.message : String(error) });
}
