"""Start sagas and take part in them, from Python.

The simplest program has a `Workflow` whose steps are functions. `start_workflow` applies its definition, runs its steps in
this program and starts it:

    workflow = Workflow("Order Processing", [
        WorkflowStep("Process Payment", charge, refund),
        WorkflowStep("Update Inventory", reserve, release),
    ])
    order = await start_workflow(workflow, {"sku": "book"})
    result = await order.result()

A microservice is a `Service` of typed actions and compensations. `Client.run` connects it to the executors as a worker until
the process is asked to end:

    payments = Service("payments")
    payments.pair("charge", charge, "refund", refund)
    async with Client() as client:
        await client.run(payments)

`goconductor.sync` has the same client for programs without an event loop.

# Outcomes

An action that returns succeeded. The exception of an action determines how the saga proceeds:

- `Retryable`: nothing happened. The step is retried by its retry policy.
- `Refused`: nothing happened, and a retry would not help. The saga rolls back.
- `Unknown`, and every other exception: the action may have taken effect. The step is retried with the same idempotency key,
  and compensated if the saga rolls back. The code is CANCELLED or DEADLINE_EXCEEDED if the attempt was cancelled, PANICKED
  for SystemExit and other exceptions that are not subclasses of Exception, and ERROR for all others.
- An input that cannot be converted is refused with the code BAD_INPUT. The action is not called.

# Delivery

Delivery is at least once: an action may be called again with the same `Attempt.key`. The package `goconductor.inbox` records
what was done in the microservice's own database transaction, so that a repeat has no effect.

# JSON

Inputs and outputs are JSON. They are converted to and from the annotated types: dataclasses, TypedDict, enums, models of
Pydantic, and plain values. Integers keep their digits. Other numbers keep them if their type is Decimal. A Decimal of an
output becomes a string. Both forms are converted to Decimal.

The package decides nothing about a workflow. The decisions are made where its state is committed.
"""

from ._attempt import Attempt, AttemptLogger, Operation, current_attempt, heartbeat, logger
from ._client import DEFAULT_ADDRESS, Applied, Client, DefinitionWarning, TokenSource, start_workflow
from ._codec import RawJSON
from ._endpoint import TLSFiles
from ._handle import Handle
from ._schedule import Overlap, Schedule, ScheduleRun, ScheduleSpec
from ._service import CompensationInput, Handler, Interceptor, ProbeAnswer, Service
from ._view import Description, Event, Failure, Result, Status, StepDescription, Waiting
from ._worker import Worker
from ._workflow import RetryPolicy, Workflow, WorkflowStep
from .errors import (
    ActionError,
    AttemptCancelled,
    AttemptEnded,
    CallTimeoutError,
    ConflictError,
    DeadlineExceeded,
    GoConductorError,
    InvalidError,
    Kind,
    Location,
    MisuseError,
    NoExecutorError,
    NotAllowedError,
    NotFoundError,
    OverloadedError,
    Refused,
    Retryable,
    StreamLost,
    Unknown,
    UnreachableError,
    as_action_error,
)

__all__ = [
    "DEFAULT_ADDRESS",
    "ActionError",
    "Applied",
    "Attempt",
    "AttemptCancelled",
    "AttemptEnded",
    "AttemptLogger",
    "CallTimeoutError",
    "Client",
    "CompensationInput",
    "ConflictError",
    "DeadlineExceeded",
    "DefinitionWarning",
    "Description",
    "Event",
    "Failure",
    "GoConductorError",
    "Handle",
    "Handler",
    "Interceptor",
    "InvalidError",
    "Kind",
    "Location",
    "MisuseError",
    "NoExecutorError",
    "NotAllowedError",
    "NotFoundError",
    "Operation",
    "Overlap",
    "OverloadedError",
    "ProbeAnswer",
    "RawJSON",
    "Refused",
    "Result",
    "RetryPolicy",
    "Retryable",
    "Schedule",
    "ScheduleRun",
    "ScheduleSpec",
    "Service",
    "Status",
    "StepDescription",
    "StreamLost",
    "TLSFiles",
    "TokenSource",
    "Unknown",
    "UnreachableError",
    "Waiting",
    "Worker",
    "Workflow",
    "WorkflowStep",
    "as_action_error",
    "current_attempt",
    "heartbeat",
    "logger",
    "start_workflow",
]
