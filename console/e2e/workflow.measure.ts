// How long the browser works for a large graph and a long history. Needs a machine that does nothing else: not part of `npm run e2e`.
import { afterAll, expect, test } from "vitest";
import { screenshots, startConsole } from "./fixture";
import { startParticipant, type Participant } from "./participant";
import { tasks } from "./trace";

const MANY = 300;
const many = `workflow: many\nsteps:\n${Array.from({ length: MANY / 5 }, (_, group) => `  - name: g${group}\n    parallel:\n${Array.from({ length: 5 }, (_, lane) =>
  `      l${lane}:\n        - { name: s${group}_${lane}, run: trips/step, compensate: trips/undo }\n`).join("")}`).join("")}`;

let completed = "";
let participant: Participant;

const fixture = startConsole(async (conductor) => {
  participant = await startParticipant();
  await conductor.serve("trips", participant);
  await conductor.apply("many", many);
  completed = await conductor.order("o-1");
});
afterAll(() => participant?.close());

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
  await page.goto(`${fixture.url}/workflows/${completed}?tab=history`);
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
