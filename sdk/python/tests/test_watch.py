from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc

from goconductor import Client
from goconductor.v1 import workflow_pb2 as pb
from goconductor.v1 import workflow_pb2_grpc


class Gateway(workflow_pb2_grpc.WorkflowServiceServicer):
    """A gateway with a workflow of two events, which waits after the first until it is asked again."""

    async def FollowEvents(self, request: Any, context: Any) -> AsyncIterator[pb.FollowEventsResponse]:  # noqa: N802
        yield pb.FollowEventsResponse(event=pb.Event(seq=request.after_seq + 1, type="STEP_COMPLETED"))
        if request.after_seq == 0:
            await asyncio.sleep(30)

    async def GetWorkflow(self, request: Any, context: Any) -> pb.GetWorkflowResponse:  # noqa: N802
        return pb.GetWorkflowResponse(workflow=pb.Workflow(id="w", status=pb.WORKFLOW_STATUS_COMPLETED, seq=2))


async def test_watch_goes_on_after_the_files_of_tls_were_replaced() -> None:
    server = grpc.aio.server()
    workflow_pb2_grpc.add_WorkflowServiceServicer_to_server(Gateway(), server)  # type: ignore[abstract]
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with Client(f"http://127.0.0.1:{port}") as client:
            numbers: list[int] = []
            async for event in client.workflow("w").watch():
                numbers.append(event.seq)
                if client._stubs is not None and event.seq == 1:
                    retiring, client._stubs = client._stubs, None
                    retire = asyncio.create_task(client._retire(retiring, 0.1))
            await retire
            assert numbers == [1, 2]
    finally:
        await server.stop(None)
