"""The order saga in one program: two steps, each with its compensation."""

import asyncio

from goconductor import Refused, Workflow, WorkflowStep, start_workflow


async def charge(sku: str) -> None:
    """Charge the customer."""
    print("charged")


async def refund() -> None:
    """Undo the charge."""
    print("refunded")


async def reserve(sku: str) -> None:
    """Reserve the item."""
    if sku == "sold-out":
        raise Refused("SOLD_OUT", "the item is sold out")


async def main() -> None:
    """Start the saga twice."""
    workflow = Workflow(
        "Order Processing",
        [WorkflowStep("Process Payment", charge, refund), WorkflowStep("Update Inventory", reserve)],
    )
    for sku in ("book", "sold-out"):
        order = await start_workflow(workflow, sku)
        print(sku, (await order.result()).status)


asyncio.run(main())
