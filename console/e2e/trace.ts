import type { Page } from "playwright-core";

interface TraceEvent {
  name: string;
  /** Processor time of the thread, in microseconds. */
  tdur?: number;
}

/** The processor time of each task while `run` runs, in milliseconds, the longest first. Other processes do not count. */
export async function tasks(page: Page, run: () => Promise<unknown>): Promise<number[]> {
  const session = await page.context().newCDPSession(page);
  const events: TraceEvent[] = [];
  session.on("Tracing.dataCollected", ({ value }) => events.push(...(value as unknown as TraceEvent[])));
  await session.send("Tracing.start", { traceConfig: { includedCategories: ["toplevel", "devtools.timeline"] } });
  await run();
  const complete = new Promise((resolve) => session.once("Tracing.tracingComplete", resolve));
  await session.send("Tracing.end");
  await complete;
  return events.filter((event) => event.name.endsWith("RunTask")).map((event) => (event.tdur ?? 0) / 1_000).sort((a, b) => b - a);
}

/** The used heap of the page after a garbage collection, in bytes. */
export async function usedHeap(page: Page): Promise<number> {
  const session = await page.context().newCDPSession(page);
  // Objects with finalizers need a second collection.
  for (let i = 0; i < 3; i += 1) await session.send("HeapProfiler.collectGarbage");
  const { usedSize } = await session.send("Runtime.getHeapUsage");
  await session.detach();
  return usedSize;
}
