"""The state of workflows, as the gateway describes it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timezone
from enum import Enum
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from . import _codec
from .v1 import workflow_pb2 as pb


class Status(str, Enum):
    """The status of a workflow."""

    QUEUED = "QUEUED"
    IN_PROGRESS = "IN_PROGRESS"
    ROLLING_BACK = "ROLLING_BACK"
    PAUSED = "PAUSED"
    ERROR = "ERROR"
    COMPLETED = "COMPLETED"
    ROLLED_BACK = "ROLLED_BACK"
    TERMINATED = "TERMINATED"
    UNKNOWN = "UNKNOWN"
    """A status of a later version of the gateway."""

    @property
    def is_final(self) -> bool:
        """Whether the workflow has ended."""
        return self in (Status.COMPLETED, Status.ROLLED_BACK, Status.TERMINATED)

    def __str__(self) -> str:
        return str(self.value)

    @classmethod
    def _missing_(cls, value: object) -> Status:
        return cls.UNKNOWN


@dataclass(frozen=True)
class Failure:
    """A failure of a step."""

    code: str
    """The stable code of the participant, or of the engine."""
    message: str
    """The message for people."""
    detail_json: str = ""
    """Further details as JSON. It can be empty."""

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"


@dataclass(frozen=True)
class StepDescription:
    """The state of a step."""

    name: str
    title: str
    kind: str
    """`compensatable`, `pivot` or `retriable`."""
    action: str
    """The executing action, `service/action`."""
    compensate: str
    """The compensating action. It is empty if the step has no compensation."""
    status: str
    """A status such as COMPLETED, FAILED, UNKNOWN or COMPENSATED."""
    attempts: int
    compensation_attempts: int
    queued_at: datetime | None
    started_at: datetime | None
    ended_at: datetime | None
    output_json: str
    failure: Failure | None


@dataclass(frozen=True)
class Waiting:
    """A reason why a workflow makes no progress."""

    kind: str
    """A kind such as NO_WORKER, IN_FLIGHT, BACKOFF or SIGNAL."""
    step: str
    since: datetime | None
    until: datetime | None
    detail: str


@dataclass(frozen=True)
class Description:
    """The state of a workflow. In lists, it has no input, no output, no steps and no reasons of a wait."""

    id: str
    namespace: str
    definition: str
    version: int
    status: Status
    cause: str
    """The cause of the rollback: STEP_FAILED, CANCELLED, TIMED_OUT, OPERATOR or PARENT."""
    labels: dict[str, str]
    idempotency_key: str
    input_json: str
    output_json: str
    failure: Failure | None
    """The first failure. None if no step failed."""
    seq: int
    """The number of the last event."""
    created_at: datetime | None
    ended_at: datetime | None
    deadline: datetime | None
    steps: list[StepDescription] = field(default_factory=list)
    """The steps, in the order of the definition."""
    waiting_on: list[Waiting] = field(default_factory=list)
    """The reasons why the workflow makes no progress."""

    def step(self, name: str) -> StepDescription | None:
        """Return the step with a name. None if the definition has no such step."""
        return next((each for each in self.steps if each.name == name), None)


@dataclass(frozen=True)
class Event:
    """An event of a workflow."""

    seq: int
    """The number of the event: from 1, without gaps."""
    time: datetime | None
    type: str
    """A type such as STEP_COMPLETED."""
    step: str
    attempt: int
    detail_json: str
    """Details as JSON. It can be empty."""
    actor: str


@dataclass(frozen=True)
class Result:
    """The result of a workflow that has ended."""

    status: Status
    """COMPLETED, ROLLED_BACK or TERMINATED."""
    cause: str
    """The cause of the rollback. It is empty if the workflow did not roll back."""
    output_json: str
    """The JSON of the output. It is null unless the workflow completed."""
    failure: Failure | None
    """The first failure. None if no step failed."""

    @property
    def output(self) -> Any:
        """The output, as values such as dict and list."""
        return _codec.loads(self.output_json)

    def decode(self, kind: Any) -> Any:
        """Convert the output to a type, such as a dataclass."""
        return _codec.decode(self.output_json, kind)


def time_of(stamp: Timestamp, present: bool) -> datetime | None:
    """Convert a time that may be absent."""
    return stamp.ToDatetime(tzinfo=timezone.utc) if present else None


def enum_name(name: str, prefix: str) -> str:
    """Return the name of an enum value without its prefix. The unspecified value becomes empty."""
    name = name.removeprefix(prefix)
    return "" if name == "UNSPECIFIED" else name


def _name(enum: Any, number: int, prefix: str) -> str:
    try:
        return enum_name(enum.Name(number), prefix)
    except ValueError:  # a value of a later version
        return f"UNKNOWN_{number}"


def _failure(present: bool, failure: Any) -> Failure | None:
    return Failure(failure.code, failure.message, failure.detail_json) if present else None


def description(w: pb.Workflow) -> Description:
    """Convert a workflow."""
    return Description(
        id=w.id,
        namespace=w.namespace,
        definition=w.definition,
        version=w.version,
        status=Status(_name(pb.WorkflowStatus, w.status, "WORKFLOW_STATUS_")),
        cause=_name(pb.RollbackCause, w.cause, "ROLLBACK_CAUSE_"),
        labels=dict(w.labels),
        idempotency_key=w.idempotency_key,
        input_json=w.input_json,
        output_json=w.output_json,
        failure=_failure(w.HasField("error"), w.error),
        seq=w.seq,
        created_at=time_of(w.created_at, w.HasField("created_at")),
        ended_at=time_of(w.ended_at, w.HasField("ended_at")),
        deadline=time_of(w.deadline, w.HasField("deadline")),
        steps=[_step(each) for each in w.steps],
        waiting_on=[_waiting(each) for each in w.waiting_on],
    )


def _step(step: pb.Step) -> StepDescription:
    return StepDescription(
        name=step.name,
        title=step.title,
        kind=step.kind,
        action=step.action,
        compensate=step.compensate,
        status=_name(pb.StepStatus, step.status, "STEP_STATUS_"),
        attempts=step.attempts,
        compensation_attempts=step.compensation_attempts,
        queued_at=time_of(step.queued_at, step.HasField("queued_at")),
        started_at=time_of(step.started_at, step.HasField("started_at")),
        ended_at=time_of(step.ended_at, step.HasField("ended_at")),
        output_json=step.output_json,
        failure=_failure(step.HasField("error"), step.error),
    )


def _waiting(waiting: pb.Waiting) -> Waiting:
    return Waiting(
        kind=_name(pb.WaitingKind, waiting.kind, "WAITING_KIND_"),
        step=waiting.step,
        since=time_of(waiting.since, waiting.HasField("since")),
        until=time_of(waiting.until, waiting.HasField("until")),
        detail=waiting.detail,
    )


def event_of(event: pb.Event) -> Event:
    """Convert an event."""
    return Event(
        seq=event.seq,
        time=time_of(event.time, event.HasField("time")),
        type=event.type,
        step=event.step,
        attempt=event.attempt,
        detail_json=event.detail_json,
        actor=event.actor,
    )
