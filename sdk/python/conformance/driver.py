"""The driver of the Python SDK for the conformance suite. sdk/conformance/README.md documents the protocol."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import sqlite3
import sys
import time
from collections.abc import Coroutine
from dataclasses import asdict
from typing import Any

import goconductor as gc
from goconductor import RawJSON
from goconductor.databases import SQLite
from goconductor.inbox import Inbox

_MAX_LINE = 64 << 20
_KINDS = {
    gc.NotFoundError: "not_found",
    gc.ConflictError: "conflict",
    gc.InvalidError: "invalid",
    gc.NotAllowedError: "not_allowed",
    gc.OverloadedError: "overloaded",
    gc.UnreachableError: "unreachable",
    gc.CallTimeoutError: "timeout",
    gc.MisuseError: "misuse",
}


def write(message: dict[str, Any], **raw: str) -> None:
    """Write a message. The fields of raw are JSON already, so that numbers keep their digits."""
    text = json.dumps(message, ensure_ascii=False)
    for name, value in raw.items():
        text = f'{text[:-1]}, "{name}": {value or "null"}}}'
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def milliseconds(seconds: float) -> int:
    """Return whole milliseconds."""
    return int(seconds * 1000)


def die() -> None:
    """End the process as a crash of the machine would."""
    os.kill(os.getpid(), signal.SIGKILL)


class Box:
    """The database of the participant, with its inbox and its effects."""

    def __init__(self, file: str, broken: str) -> None:
        self.broken = broken
        self.db = sqlite3.connect(file, timeout=30, isolation_level=None, check_same_thread=False)
        self.db.execute("PRAGMA journal_mode = WAL")
        self.inbox = Inbox(SQLite(self.db))
        self.inbox.migrate()
        self.db.execute(
            "CREATE TABLE IF NOT EXISTS effects (seq INTEGER PRIMARY KEY, step TEXT NOT NULL, operation TEXT NOT NULL)"
        )

    def run(self, attempt: gc.Attempt, key: str, step: dict[str, Any]) -> str:
        """Record the effect of an attempt through the inbox."""

        def record() -> None:
            self.db.execute("INSERT INTO effects (step, operation) VALUES (?, ?)", (attempt.step, attempt.operation.value))

        def work(_: sqlite3.Connection) -> Any:
            record()
            return step.get("output")

        output = "null"
        if attempt.operation is gc.Operation.EXECUTE:
            output = self.inbox.do(key, work)
        else:
            self.inbox.undo(key, lambda _db, _output: record())
            if self.broken == "inbox-without-tombstone":
                self.db.execute("DELETE FROM goconductor_inbox WHERE undone AND NOT done")
        if step.get("die"):
            die()
        if step.get("answer") == "lost":
            raise gc.Unknown("LOST", "the response was lost")
        return output

    def effects(self) -> list[dict[str, str]]:
        """Return the effects, in order."""
        rows = self.db.execute("SELECT step, operation FROM effects ORDER BY seq")
        return [{"step": step, "operation": operation} for step, operation in rows]


class Driver:
    """The state of the process."""

    def __init__(self) -> None:
        self.gates: dict[str, asyncio.Event] = {}
        self.broken = ""
        self.quiet = False
        self.box: Box | None = None
        self.worker: gc.Worker | None = None

    async def respond(self, request: dict[str, Any]) -> None:
        """Handle a request and write its response."""
        try:
            result = await self.handle(request)
        except Exception as error:  # noqa: BLE001
            write({"id": request["id"], "error": describe(error)})
        else:
            raw = result.pop("raw", {})
            write({"id": request["id"]}, result=merged(result, raw))

    async def handle(self, request: dict[str, Any]) -> dict[str, Any]:
        """Handle a request."""
        op = request["op"]
        if op == "hello":
            return {"sdk": "python", "capabilities": ["inbox", "client", "drops_expired"]}
        if op == "serve":
            await self.serve(request)
        elif op == "drain":
            assert self.worker is not None
            await self.worker.shutdown()
        elif op == "release":
            self.gate(request["gate"]).set()
        elif op == "effects":
            assert self.box is not None
            return {"effects": self.box.effects()}
        elif op == "client":
            async with gc.Client(request["gateway"], namespace=request["namespace"]) as client:
                return await Calls(client, request).run()
        else:
            raise gc.MisuseError(f"unknown operation {op!r}")
        return {}

    async def serve(self, request: dict[str, Any]) -> None:
        """Connect the service with the actions of the scenario."""
        self.broken = request.get("broken") or ""
        self.quiet = bool(request.get("quiet"))
        self.box = Box(request["database"], self.broken)
        client = gc.Client(request["gateway"], namespace=request["namespace"], executors=request.get("executors") or ())
        service = gc.Service(request["service"], capacity=request.get("capacity") or 0, version="1.0.0")
        limits = request.get("limits") or {}
        for name, scripts in request["actions"].items():
            service.handle(name, self.action(scripts), max_in_flight=limits.get(name))
        self.worker = await client.serve(service)
        await self.worker.connected()

    def gate(self, name: str) -> asyncio.Event:
        """Return the event that is set when a gate is released."""
        return self.gates.setdefault(name, asyncio.Event())

    def action(self, scripts: list[list[dict[str, Any]]]) -> gc.Handler:
        """Return the handler of an action. It reports each call before and after the script, unless quiet."""

        async def handler(attempt: gc.Attempt, text: str) -> str:
            script = scripts[min(attempt.number, len(scripts)) - 1]
            if self.quiet:
                return await self.run(attempt, script, text)
            heartbeat = attempt.heartbeat_timeout
            write(
                {
                    "event": "call",
                    "action": attempt.action,
                    "step": attempt.step,
                    "workflow_id": attempt.workflow_id,
                    "operation": attempt.operation.value,
                    "attempt": attempt.number,
                    "key": self.key(attempt),
                    "time_left_ms": milliseconds(attempt.time_left.total_seconds()),
                    "heartbeat_timeout_ms": milliseconds(heartbeat.total_seconds()) if heartbeat else 0,
                    "lock_tokens": dict(attempt.lock_tokens),
                    "traceparent": attempt.traceparent,
                },
                input=text,
            )
            event = {"event": "returned", "action": attempt.action, "attempt": attempt.number, "outcome": "done"}
            try:
                return await self.run(attempt, script, text)
            except BaseException as error:
                known = gc.as_action_error(error, attempt.cause)
                event |= {"outcome": known.kind.value, "code": known.code}
                raise
            finally:
                write(event)

        return handler

    def key(self, attempt: gc.Attempt) -> str:
        """Return the idempotency key. The driver that is broken in this way has a new one for each attempt."""
        if self.broken != "new-key-on-retry" or attempt.number == 1:
            return attempt.key
        workflow, _, rest = attempt.key.partition("/")
        return f"{workflow}x{time.time_ns()}/{rest}"

    async def run(self, attempt: gc.Attempt, script: list[dict[str, Any]], text: str) -> str:
        """Run a script."""
        for index, step in enumerate(script):
            if step.get("detached"):
                return await detached(self.run(attempt, script[index + 1 :], text))
            if "sleep_ms" in step:
                await self.sleep(attempt, step)
            elif "gate" in step:
                await until_cancelled(self.gate(step["gate"]).wait())
            elif step.get("await_cancel"):
                began = time.monotonic()
                await until_cancelled(asyncio.Event().wait())
                write(
                    {
                        "event": "cancelled",
                        "action": attempt.action,
                        "attempt": attempt.number,
                        "after_ms": milliseconds(time.monotonic() - began),
                        "time_left_ms": milliseconds(attempt.time_left.total_seconds()),
                    }
                )
            elif step.get("die"):
                die()
            else:
                return self.end(attempt, step, text)
        raise RuntimeError("the script has no end")

    def end(self, attempt: gc.Attempt, step: dict[str, Any], text: str) -> str:
        """Run the last instruction of a script."""
        kind, value = next(iter(step.items()))
        if kind == "done":
            return json.dumps(value, ensure_ascii=False)
        if kind == "echo":
            return text
        if kind == "output_bytes":
            return f'"{"x" * (value - 2)}"'
        if kind == "retry":
            raise gc.Retryable(value["code"], value["message"], after=value.get("after_ms", 0) / 1000)
        if kind == "refuse":
            raise gc.Refused(value["code"], value["message"], detail=value.get("detail"))
        if kind == "unknown":
            raise gc.Unknown(value["code"], value["message"])
        if kind == "error":
            raise RuntimeError(value)
        if kind == "panic":
            raise SystemExit(value)
        if kind == "inbox":
            assert self.box is not None
            return self.box.run(attempt, self.key(attempt), value)
        raise RuntimeError("the script has no end")

    async def sleep(self, attempt: gc.Attempt, step: dict[str, Any]) -> None:
        """Wait, and send heartbeats unless the driver is broken in this way."""
        end = time.monotonic() + step["sleep_ms"] / 1000
        interval = step.get("heartbeat_ms", 0) / 1000
        if not interval or self.broken == "no-heartbeat":
            interval = step["sleep_ms"] / 1000
        while (left := end - time.monotonic()) > 0 and not attempt.cancelled:
            await until_cancelled(asyncio.sleep(min(left, interval)))
            attempt.heartbeat()


async def until_cancelled(wait: Coroutine[Any, Any, Any]) -> None:
    """Wait until the attempt is cancelled, and continue then."""
    try:
        await wait
    except asyncio.CancelledError:
        return


async def detached(run: Coroutine[Any, Any, str]) -> str:
    """Run instructions that do not notice that the attempt is cancelled."""
    task = asyncio.create_task(run)
    while not task.done():
        await until_cancelled(asyncio.wait([task]))
    return task.result()


def describe(error: Exception) -> dict[str, Any]:
    """Describe an error of a call."""
    kind = next((name for known, name in _KINDS.items() if isinstance(error, known)), "other")
    return {"message": str(error), "kind": kind, "code": getattr(error, "code", "")}


def merged(result: dict[str, Any], raw: dict[str, str]) -> str:
    """Return the JSON of a result with fields that are JSON already."""
    pairs = [f"{json.dumps(name)}: {json.dumps(value, ensure_ascii=False)}" for name, value in result.items()]
    pairs += [f"{json.dumps(name)}: {text or 'null'}" for name, text in raw.items()]
    return "{" + ", ".join(pairs) + "}"


class Calls:
    """A call of the client that a scenario asks for. The result has the names of the REST API."""

    def __init__(self, client: gc.Client, request: dict[str, Any]) -> None:
        self.client = client
        self.request = request
        self.handle = client.workflow(request.get("workflow", ""))

    async def run(self) -> dict[str, Any]:
        """Make the call."""
        run = getattr(self, f"call_{self.request['call']}", None)
        if run is None:
            raise gc.MisuseError(f"unknown call {self.request['call']!r}")
        result: dict[str, Any] = await run() or {}
        return result

    def text(self, name: str) -> str:
        """Return a field of the request."""
        return str(self.request.get(name) or "")

    async def call_apply(self) -> dict[str, Any]:
        """Apply a definition."""
        applied = await self.client.apply(self.text("name"), self.text("definition"))
        return {"version": applied.version, "created": applied.created}

    async def call_start(self) -> dict[str, Any]:
        """Start a workflow."""
        handle = await self.client.start(
            self.text("name"), self.request.get("input"), key=self.text("key"), labels=self.request.get("labels")
        )
        return {"id": handle.id, "replayed": handle.replayed}

    async def call_result(self) -> dict[str, Any]:
        """Wait for the result."""
        result = await self.handle.result()
        failure = result.failure
        error = None
        if failure is not None:
            error = {"code": failure.code, "message": failure.message, "detail": json.loads(failure.detail_json or "null")}
        return {
            "status": result.status.value,
            "cause": result.cause,
            "error": error,
            "raw": {"output": result.output_json},
        }

    async def call_describe(self) -> dict[str, Any]:
        """Describe a workflow."""
        described = await self.handle.describe()
        steps = {
            step.name: {"status": step.status, "attempts": step.attempts, "output": json.loads(step.output_json or "null")}
            for step in described.steps
        }
        return {
            "id": described.id,
            "definition": described.definition,
            "version": described.version,
            "status": described.status.value,
            "labels": described.labels,
            "idempotency_key": described.idempotency_key,
            "steps": steps,
            "waiting_on": [each.kind for each in described.waiting_on],
            "raw": {"input": described.input_json},
        }

    async def call_signal(self) -> None:
        """Send a signal."""
        await self.handle.signal(self.text("name"), self.request.get("input"))

    async def call_cancel(self) -> None:
        """Cancel a workflow."""
        await self.handle.cancel(self.text("reason"))

    async def call_watch(self) -> dict[str, Any]:
        """Read all events."""
        types: list[str] = []
        async for event in self.handle.watch():
            types.append(event.type)
            if event.seq != len(types):
                raise RuntimeError(f"event {len(types)} has the number {event.seq}")
        return {"types": types}

    async def call_list(self) -> dict[str, Any]:
        """List workflows, with a small page, so that the pages are followed."""
        ids = [each.id async for each in self.client.list(self.text("filter"), page_size=2)]
        return {"ids": ids, "count": len(ids)}

    async def call_put_schedule(self) -> dict[str, Any]:
        """Put a schedule."""
        spec = gc.ScheduleSpec(
            self.text("definition"), cron=self.text("cron"), input=RawJSON(json.dumps(self.request.get("input")))
        )
        return shown(await self.client.put_schedule(self.text("name"), spec))

    async def call_get_schedule(self) -> dict[str, Any]:
        """Read a schedule."""
        return shown(await self.client.schedule(self.text("name")))

    async def call_pause_schedule(self) -> None:
        """Pause a schedule."""
        await self.client.pause_schedule(self.text("name"), self.text("reason"))

    async def call_delete_schedule(self) -> None:
        """Delete a schedule."""
        await self.client.delete_schedule(self.text("name"))

    async def call_trigger_schedule(self) -> dict[str, Any]:
        """Start a workflow of a schedule."""
        return {"id": (await self.client.trigger_schedule(self.text("name"))).id}


def shown(schedule: gc.Schedule) -> dict[str, Any]:
    """Return the fields of a schedule that scenarios compare."""
    return {"name": schedule.name, "paused": schedule.paused, "cron": asdict(schedule.spec)["cron"]}


async def main() -> None:
    """Read requests until the end of the input."""
    logging.basicConfig(stream=sys.stderr, level=logging.INFO)
    driver = Driver()
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=_MAX_LINE)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    running = set()
    while line := await reader.readline():
        task = asyncio.create_task(driver.respond(json.loads(line)))
        running.add(task)
        task.add_done_callback(running.discard)
    if running:
        await asyncio.wait(running)


if __name__ == "__main__":
    asyncio.run(main())
