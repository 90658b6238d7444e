"""Schedules, which start workflows at due times."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum
from typing import Any

from ._codec import RawJSON
from ._view import Status, enum_name, time_of
from .v1 import schedule_pb2 as pb


class Overlap(str, Enum):
    """The policy for a due time while a workflow of the schedule is running."""

    SKIP = "SKIP"
    BUFFER_ONE = "BUFFER_ONE"
    ALLOW = "ALLOW"
    CANCEL_OTHER = "CANCEL_OTHER"


@dataclass(frozen=True)
class ScheduleSpec:
    """The definition that a schedule starts, and its due times. Either `cron` or `every` is set."""

    definition: str
    """The name of the definition."""
    version: int = 0
    """A version of the definition. 0 means the newest one at each start."""
    cron: str = ""
    """A pattern of 5 fields, or of 6 with the seconds first, or a name such as @daily."""
    timezone: str = ""
    """The IANA name of the time zone of the pattern. Empty means UTC."""
    every: timedelta | None = None
    """An interval of at least one second."""
    anchor: datetime | None = None
    """A due time of the interval, in UTC if it has no time zone. None means 1970-01-01T00:00:00Z."""
    overlap: Overlap | None = None
    """The policy while a workflow is running. None means `Overlap.SKIP`."""
    catch_up: timedelta | None = None
    """The age up to which missed due times are started. None means one hour."""
    input: Any = None
    """The input, which is converted to JSON. None means {}. The text ${ schedule.time } stands for the due time."""
    labels: dict[str, str] = field(default_factory=dict)
    """Labels of the workflows."""


@dataclass(frozen=True)
class ScheduleRun:
    """A workflow of a schedule."""

    workflow_id: str
    due: datetime | None
    kind: str
    """`due`, `buffered`, `backfill` or `trigger`."""
    status: Status


@dataclass(frozen=True)
class Schedule:
    """A schedule with its state."""

    name: str
    spec: ScheduleSpec
    """The specification, with the input as a `RawJSON`."""
    generation: int
    """The generation, which rises with each change by a user."""
    paused: bool
    next_due: datetime | None
    last_due: datetime | None
    started: int
    skipped: int
    missed: int
    failed: int
    recent: list[ScheduleRun]
    """The newest workflows, newest first."""


def to_wire(spec: ScheduleSpec, input_json: str) -> pb.ScheduleSpec:
    """Convert a specification."""
    wire = pb.ScheduleSpec(
        definition=spec.definition,
        version=spec.version,
        cron=spec.cron,
        timezone=spec.timezone,
        input_json=input_json,
        labels=spec.labels,
    )
    if spec.overlap is not None:
        wire.overlap = pb.ScheduleOverlap.Value(f"SCHEDULE_OVERLAP_{spec.overlap.value}")
    if spec.every is not None:
        wire.every.FromTimedelta(spec.every)
    if spec.catch_up is not None:
        wire.catch_up.FromTimedelta(spec.catch_up)
    if spec.anchor is not None:
        wire.anchor.FromDatetime(spec.anchor)
    return wire


def from_wire(wire: pb.Schedule) -> Schedule:
    """Convert a schedule."""
    spec = wire.spec
    overlap = enum_name(pb.ScheduleOverlap.Name(spec.overlap), "SCHEDULE_OVERLAP_")
    return Schedule(
        name=wire.name,
        spec=ScheduleSpec(
            definition=spec.definition,
            version=spec.version,
            cron=spec.cron,
            timezone=spec.timezone,
            every=spec.every.ToTimedelta() if spec.HasField("every") else None,
            anchor=time_of(spec.anchor, spec.HasField("anchor")),
            overlap=Overlap(overlap) if overlap else None,
            catch_up=spec.catch_up.ToTimedelta() if spec.HasField("catch_up") else None,
            input=RawJSON(spec.input_json) if spec.input_json else None,
            labels=dict(spec.labels),
        ),
        generation=wire.generation,
        paused=wire.HasField("paused"),
        next_due=time_of(wire.next_due, wire.HasField("next_due")),
        last_due=time_of(wire.last_due, wire.HasField("last_due")),
        started=wire.started,
        skipped=wire.skipped,
        missed=wire.missed,
        failed=wire.failed,
        recent=[
            ScheduleRun(each.workflow_id, time_of(each.due, each.HasField("due")), each.kind, Status(each.status.upper()))
            for each in wire.recent
        ],
    )
