import { type ServiceError, status } from "@grpc/grpc-js";

import { type ErrorKind, type ErrorLocation, GoConductorError, messageOf } from "./errors.js";
import { BadRequest, ErrorInfo, RequestInfo, RetryInfo } from "./generated/google/rpc/error_details.js";
import { Status } from "./generated/google/rpc/status.js";
import { fromDuration } from "./time.js";

const kinds = new Map<status, ErrorKind>([
  [status.NOT_FOUND, "not_found"],
  [status.ALREADY_EXISTS, "conflict"],
  [status.FAILED_PRECONDITION, "conflict"],
  [status.ABORTED, "conflict"],
  [status.INVALID_ARGUMENT, "invalid"],
  [status.UNIMPLEMENTED, "invalid"],
  [status.OUT_OF_RANGE, "invalid"],
  [status.UNAUTHENTICATED, "not_allowed"],
  [status.PERMISSION_DENIED, "not_allowed"],
  [status.RESOURCE_EXHAUSTED, "overloaded"],
  [status.UNAVAILABLE, "unreachable"],
  [status.DEADLINE_EXCEEDED, "timeout"],
]);

interface Details {
  code: string;
  retryable: boolean;
  retryDelayMs: number;
  traceId: string;
  locations: ErrorLocation[];
}

/** Converts the error of a gRPC call. */
export function fromServiceError(error: unknown): GoConductorError {
  if (error instanceof GoConductorError) {
    return error;
  }
  if (!isServiceError(error)) {
    return new GoConductorError("other", messageOf(error), { cause: error });
  }
  const details = detailsOf(error);
  let kind = kinds.get(error.code) ?? "other";
  // A request that is too large has the same gRPC code as one that is refused because of overload.
  if (kind === "overloaded" && !details.retryable && details.retryDelayMs === 0) {
    kind = "invalid";
  }
  const retryable = details.retryable || kind === "unreachable" || kind === "timeout";
  return new GoConductorError(kind, error.details, { ...details, retryable, cause: error });
}

export function isServiceError(error: unknown): error is ServiceError {
  return error instanceof Error && "code" in error && typeof error.code === "number" && "details" in error;
}

function detailsOf(error: ServiceError): Details {
  const found: Details = { code: "", retryable: false, retryDelayMs: 0, traceId: "", locations: [] };
  const [encoded] = error.metadata.get("grpc-status-details-bin");
  if (!Buffer.isBuffer(encoded)) {
    return found;
  }
  for (const detail of Status.decode(encoded).details) {
    switch (detail.typeUrl.slice(detail.typeUrl.lastIndexOf("/") + 1)) {
      case "google.rpc.ErrorInfo": {
        const info = ErrorInfo.decode(detail.value);
        found.code = info.reason;
        found.retryable = info.metadata["retryable"] === "true";
        break;
      }
      case "google.rpc.RequestInfo":
        found.traceId = RequestInfo.decode(detail.value).requestId;
        break;
      case "google.rpc.RetryInfo":
        found.retryDelayMs = fromDuration(RetryInfo.decode(detail.value).retryDelay);
        break;
      case "google.rpc.BadRequest":
        for (const violation of BadRequest.decode(detail.value).fieldViolations) {
          found.locations.push({ pointer: violation.field, detail: violation.description });
        }
        break;
    }
  }
  return found;
}
