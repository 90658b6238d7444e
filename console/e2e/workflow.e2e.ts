import type { Page } from "playwright-core";
import { afterAll, expect, test } from "vitest";
import { expectAccessible, screenshots, startConsole } from "./fixture";
import { startParticipant, type Participant } from "./participant";

const XSS = "<img src=x onerror=alert(1)>";
const TRIP = `
workflow: trip
steps:
  - name: both
    parallel:
      air:
        - { name: flight, title: Flight, run: trips/flight, input: "\${ input }", compensate: trips/cancel_flight }
      room:
        - { name: hotel, title: Hotel, run: trips/hotel, input: "\${ input }", compensate: trips/cancel_hotel }
        - { name: extra, title: Extra, when: has(input.extra), run: trips/extra, input: "\${ input }", compensate: trips/cancel_extra }
  - name: consent
    title: Consent
    wait_for_signal:
      signal: consent
      schema: { type: object, required: [by], properties: { by: { type: string, title: Consented by } } }
  - { name: charge, title: Charge, kind: pivot, run: trips/charge, input: "\${ input }" }
  - { name: mail, title: Mail, kind: retriable, run: trips/mail, input: "\${ input }" }
`;
const MANY = 300;
const many = `workflow: many\nsteps:\n${Array.from({ length: MANY / 5 }, (_, group) => `  - name: g${group}\n    parallel:\n${Array.from({ length: 5 }, (_, lane) =>
  `      l${lane}:\n        - { name: s${group}_${lane}, run: trips/step, compensate: trips/undo }\n`).join("")}`).join("")}`;

const ids: Record<string, string> = {};
let participant: Participant;

const fixture = startConsole(async (conductor) => {
  participant = await startParticipant(`refused ${XSS}`);
  await conductor.call("PUT", "/services/trips", { http: { url: participant.url } });
  for (const [name, source] of [["trip", TRIP], ["many", many]] as const) await apply(conductor.url, name, source);
  const trip = async (name: string, faults: Record<string, string>) => {
    ids[name] = (await conductor.call<{ id: string }>("POST", "/workflows", { definition: "trip", input: { faults }, labels: { team: XSS } })).id;
  };
  ids["completed"] = await conductor.order("o-1");
  ids["rolledBack"] = await conductor.order("o-2", "sold-out");
  await trip("waiting", {});
  await trip("toCancel", {});
  await trip("stuck", { charge: "refuse", cancel_hotel: "refuse" });
  for (const id of [ids["completed"], ids["rolledBack"]]) await conductor.call("GET", `/workflows/${id}/result?wait=20s`);
  await conductor.call("POST", `/workflows/${ids["stuck"]}/signals/consent`, { by: "ada" });
});
afterAll(() => participant?.close());

async function apply(url: string, name: string, source: string): Promise<void> {
  const response = await fetch(`${url}/api/v1/definitions/${name}`, { method: "PUT", headers: { "content-type": "application/yaml" }, body: source });
  if (!response.ok) throw new Error(await response.text());
}
const open = (name: string, query = "", options = {}) => fixture.open(`/workflows/${ids[name]}${query}`, options);
const graphOf = (page: Page) => page.getByRole("group", { name: /^Graph of/ });

for (const theme of ["light", "dark"] as const) {
  test(`a rolled-back order shows its way back, and why (${theme})`, async () => {
    const page = await open("rolledBack", "", { theme });
    await page.getByText("Rolled back because “Update Inventory” failed").waitFor();
    await page.getByText("sold-out is not in stock").first().waitFor();
    await graphOf(page).getByRole("button", { name: /Process Payment.*Compensated.*undo 1/ }).waitFor();
    expect(await page.locator(".saga-edge.undo.taken").count()).toBeGreaterThan(0);
    await expectAccessible(page);
    await screenshots(page, "workflow-rolled-back", theme);
  });

  test(`every tab shows its content (${theme})`, async () => {
    const page = await open("rolledBack", "?tab=timeline", { theme });
    await page.getByRole("list", { name: "Undo" }).getByRole("button", { name: /Process Payment/ }).waitFor();
    await expectAccessible(page);
    await screenshots(page, "workflow-timeline", theme);
    for (const [tab, content] of [["History", "Workflow rolled back"], ["Input and output", "order_id"], ["Relations", "Not started by a schedule."], ["Audit", "No record"]] as const) {
      await page.setViewportSize({ width: 1440, height: 900 });
      await page.getByRole("tab", { name: tab }).click();
      await page.getByText(content).first().waitFor();
      await expectAccessible(page);
      await screenshots(page, `workflow-${tab.split(" ")[0]?.toLowerCase()}`, theme);
    }
  });

  test(`a step shows input, output and attempts (${theme})`, async () => {
    const page = await open("rolledBack", "?step=process_payment", { theme });
    const panel = page.getByRole("complementary", { name: "Process Payment" });
    await panel.getByRole("region", { name: "Input", exact: true }).getByText('"o-2"').waitFor();
    await panel.getByText("Compensated").first().waitFor();
    await expectAccessible(page);
    await screenshots(page, "workflow-step", theme);
  });
}

test("a completed order is shown forward", async () => {
  const page = await open("completed");
  await graphOf(page).getByRole("button", { name: /Update Inventory.*Completed/ }).waitFor();
  expect(await page.locator(".saga-edge.undo").count()).toBe(0);
  await page.getByRole("button", { name: "Both" }).click();
  await page.locator(".undo-place.planned").first().waitFor();
});

test("steps are reached, opened and closed by keyboard", async () => {
  const page = await open("rolledBack");
  const node = graphOf(page).getByRole("button", { name: /Update Inventory/ });
  await node.focus();
  await page.keyboard.press("Enter");
  await expect.poll(() => page.evaluate(() => document.activeElement?.textContent)).toBe("Update Inventory");
  expect(page.url()).toContain("step=update_inventory");
  await page.keyboard.press("Escape");
  await expect.poll(() => page.url()).not.toContain("step=");
  await page.getByRole("tab", { name: "Graph" }).focus();
  await page.keyboard.press("ArrowRight");
  await page.getByRole("list", { name: "Forward" }).waitFor();
});

test("small screens show the tree of steps", async () => {
  const page = await open("rolledBack", "", { width: 320 });
  await page.getByRole("list", { name: "Steps in order" }).getByRole("button", { name: /Update Inventory/ }).waitFor();
  await page.getByRole("list", { name: "Undo" }).getByText("Process Payment").waitFor();
  await expectAccessible(page);
  await screenshots(page, "workflow-tree");
});

test("a stuck undo is repaired, and the workflow ends while the page is open", async () => {
  const page = await open("stuck");
  await page.getByText("The compensation of “Hotel” failed").waitFor();
  await page.getByText(XSS).first().waitFor();
  await expectAccessible(page);
  await screenshots(page, "workflow-stuck");
  await page.setViewportSize({ width: 1440, height: 900 });
  participant.repaired = true;
  await page.getByRole("button", { name: "Retry undo" }).first().click();
  await page.getByRole("dialog", { name: /Retry the compensation of “Hotel”/ }).waitFor();
  await expectAccessible(page);
  await page.keyboard.type("repaired");
  await page.getByRole("dialog").getByRole("button", { name: "Retry undo" }).click();
  await page.getByText("Rolled back because “Charge” failed").waitFor();
  await page.getByText("All 2 effects were undone.").waitFor();
  participant.repaired = false;
});

test("a signal is answered by the form of its schema", async () => {
  const page = await open("waiting");
  await page.getByRole("button", { name: "Send signal" }).first().click();
  const dialog = page.getByRole("dialog", { name: "Send the signal consent" });
  await dialog.getByLabel("Consented by").fill("ada");
  await expectAccessible(page);
  await dialog.getByRole("button", { name: "Send signal" }).click();
  await page.getByText("Completed", { exact: true }).first().waitFor();
  await page.locator(".pivot-line > span").waitFor();
  expect(await fixture.conductor.call("GET", `/workflows/${ids["waiting"]}`)).toMatchObject({ status: "COMPLETED" });
});

test("a workflow is paused, resumed and cancelled, each with its dialog", async () => {
  const page = await open("toCancel");
  const choose = async (verb: string) => {
    await page.getByRole("button", { name: "Actions" }).click();
    await page.getByRole("menuitem", { name: verb }).click();
  };
  await choose("Pause");
  await page.getByRole("dialog").getByRole("button", { name: "Pause" }).click();
  await page.getByText("Paused by an operator").waitFor();
  await expectAccessible(page);
  await page.getByRole("button", { name: "Resume" }).first().click();
  await page.getByRole("dialog").getByRole("button", { name: "Resume" }).click();
  await page.getByText("The step waits for the signal consent").waitFor();
  await page.getByRole("button", { name: "Cancel", exact: true }).first().click();
  const dialog = page.getByRole("dialog", { name: "Cancel the workflow?" });
  await dialog.getByRole("button", { name: "Cancel workflow" }).click();
  await dialog.getByText("State a reason.").waitFor();
  await dialog.getByLabel("Reason").fill("not needed");
  await dialog.getByRole("button", { name: "Cancel workflow" }).click();
  await page.getByText("Rolled back because it was cancelled").waitFor();
});

test("the events of a running workflow follow, also after an outage", async () => {
  const { id } = await fixture.conductor.call<{ id: string }>("POST", "/workflows", { definition: "trip", input: {} });
  const page = await fixture.open(`/workflows/${id}?tab=history`);
  await page.getByText("Step waiting").waitFor();
  await fixture.conductor.kill();
  await fixture.conductor.start();
  await page.getByText("Live", { exact: true }).waitFor({ timeout: 30_000 });
  await fixture.conductor.call("POST", `/workflows/${id}/signals/consent`, { by: "ada" });
  await page.getByText("Workflow completed").waitFor({ timeout: 30_000 });
  const seqs = await page.locator(".table .tr.body .td:first-child").allTextContents();
  expect(seqs).toEqual(seqs.map((_, index) => String(index + 1)));
});

test("an unknown workflow says so", async () => {
  const page = await fixture.open("/workflows/01a22caa-dc69-7172-9067-000000000000");
  await page.getByText("No workflow has this ID").waitFor();
  await expectAccessible(page);
});

interface TraceEvent {
  name: string;
  /** Processor time of the thread, in microseconds. */
  tdur?: number;
}

/** The processor time of each task while `run` runs, in milliseconds, the longest first. Other processes do not count. */
async function tasks(page: Page, run: () => Promise<unknown>): Promise<number[]> {
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

test(`a graph of ${MANY} steps is laid out within one second`, async () => {
  const { id } = await fixture.conductor.call<{ id: string }>("POST", "/workflows", { definition: "many", input: {} });
  await fixture.conductor.call("GET", `/workflows/${id}/result?wait=60s`);
  const page = await fixture.open(`/workflows/${id}?view=tree`);
  await page.getByRole("list", { name: "Steps in order" }).getByRole("button").nth(MANY - 1).waitFor();
  const times = await tasks(page, async () => {
    await page.getByRole("button", { name: "Graph", exact: true }).click();
    await page.locator(".step-box").first().waitFor();
  });
  expect(times.length).toBeGreaterThan(1);
  expect(times.reduce((sum, time) => sum + time, 0)).toBeLessThan(1_000);
  await screenshots(page, "workflow-many");
});

test("a history of 20,000 events scrolls without a long task", async () => {
  const page = await fixture.open("/");
  const types = ["STEP_QUEUED", "ATTEMPT_FAILED", "STEP_COMPLETED", "SIGNAL_RECEIVED"];
  const body = Array.from({ length: 20_000 }, (_, index) => {
    const event = { seq: index + 1, time: new Date(1_790_000_000_000 + index * 50).toISOString(), type: types[index % 4], step: "flight", attempt: 1, actor: null, detail: { output: { index, text: "x".repeat(80) } } };
    return `id: ${event.seq}\nevent: ${event.type}\ndata: ${JSON.stringify(event)}\n\n`;
  }).join("");
  await page.route("**/events", (route) => route.fulfill({ contentType: "text/event-stream", body }));
  await page.goto(`${fixture.url}/workflows/${ids["completed"]}?tab=history`);
  await page.getByText("20,000 events").waitFor();
  const [longest = 0] = await tasks(page, () => page.evaluate(async () => {
    const list = document.querySelector(".table-scroll");
    for (let i = 0; list && i < 100; i += 1) {
      list.scrollTop += i % 10 === 9 ? 40_000 : 1_200;
      await new Promise((resolve) => requestAnimationFrame(resolve));
    }
  }));
  expect(longest).toBeGreaterThan(0);
  expect(longest).toBeLessThan(100);
  await page.getByRole("searchbox", { name: "Search in events" }).fill("signal 19999");
  await page.getByText("1 of 20,000 events").waitFor();
});
