"""Conversion of the errors of gRPC calls."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import grpc
from google.rpc import error_details_pb2, status_pb2

from .errors import (
    CallTimeoutError,
    ConflictError,
    GoConductorError,
    InvalidError,
    Location,
    NotAllowedError,
    NotFoundError,
    OverloadedError,
    UnreachableError,
)

_KINDS: dict[grpc.StatusCode, type[GoConductorError]] = {
    grpc.StatusCode.NOT_FOUND: NotFoundError,
    grpc.StatusCode.ALREADY_EXISTS: ConflictError,
    grpc.StatusCode.FAILED_PRECONDITION: ConflictError,
    grpc.StatusCode.ABORTED: ConflictError,
    grpc.StatusCode.INVALID_ARGUMENT: InvalidError,
    grpc.StatusCode.UNIMPLEMENTED: InvalidError,
    grpc.StatusCode.OUT_OF_RANGE: InvalidError,
    grpc.StatusCode.UNAUTHENTICATED: NotAllowedError,
    grpc.StatusCode.PERMISSION_DENIED: NotAllowedError,
    grpc.StatusCode.RESOURCE_EXHAUSTED: OverloadedError,
    grpc.StatusCode.UNAVAILABLE: UnreachableError,
    grpc.StatusCode.DEADLINE_EXCEEDED: CallTimeoutError,
}


def from_status(error: BaseException) -> BaseException:
    """Convert the error of a gRPC call. Its cause is the original error."""
    if not isinstance(error, grpc.aio.AioRpcError):
        return error
    code = error.code()
    if code is grpc.StatusCode.CANCELLED and not error.details():
        return asyncio.CancelledError()
    converted = _KINDS.get(code, GoConductorError)(error.details() or code.name)
    _add_details(converted, dict(error.trailing_metadata() or ()))
    # A request that is too large has the same gRPC code as one that is refused because of overload.
    if isinstance(converted, OverloadedError) and not converted.retryable and converted.retry_delay is None:
        converted = InvalidError(converted.message, converted.code, converted.locations, trace_id=converted.trace_id)
    if isinstance(converted, (UnreachableError, CallTimeoutError)):
        converted.retryable = True
    converted.__cause__ = error
    return converted


def _add_details(converted: GoConductorError, metadata: dict[str, Any]) -> None:
    encoded = metadata.get("grpc-status-details-bin")
    if not isinstance(encoded, bytes):
        return
    status = status_pb2.Status.FromString(encoded)
    info = error_details_pb2.ErrorInfo()
    request = error_details_pb2.RequestInfo()
    retry = error_details_pb2.RetryInfo()
    bad = error_details_pb2.BadRequest()
    for detail in status.details:
        if detail.Unpack(info):
            converted.code = info.reason
            converted.retryable = info.metadata.get("retryable") == "true"
        elif detail.Unpack(request):
            converted.trace_id = request.request_id
        elif detail.Unpack(retry):
            converted.retry_delay = retry.retry_delay.ToTimedelta() or None
        elif detail.Unpack(bad):
            converted.locations += [Location(each.field, each.description) for each in bad.field_violations]


def seconds(duration: timedelta | float) -> float:
    """Return a duration in seconds."""
    return duration.total_seconds() if isinstance(duration, timedelta) else float(duration)
