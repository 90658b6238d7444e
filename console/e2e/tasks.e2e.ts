// The tasks of people in the console, each by keyboard alone: a control is reached by Tab or the arrow keys.
import { randomBytes } from "node:crypto";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Page } from "playwright-core";
import { afterAll, expect, test } from "vitest";
import { expectAccessible, screenshots, settled, startConsole } from "./fixture";
import { Keyboard } from "./keyboard";
import { startParticipant, type Participant } from "./participant";
import { newFolder, type StoredLetter } from "./server";
import { overProcesses } from "./target";

const STUCK = 100;
const LONG = { timeout: 180_000 };
const TRIP = `workflow: trip
title: Trip
steps:
  - { name: flight, title: Flight, run: trips/flight, input: "\${ input }", compensate: trips/cancel_flight }
  - { name: hotel, title: Hotel, run: trips/hotel, input: "\${ input }", compensate: trips/cancel_hotel }
  - { name: pay, title: Pay, run: trips/pay, input: "\${ input }", kind: pivot }
`;
const CONSENT = `workflow: consent
steps:
  - name: ask
    title: Ask
    wait_for_signal: { signal: consent, schema: { type: object, required: [by], properties: { by: { type: string, title: Consented by } } } }
  - { name: pay, title: Pay, run: trips/pay, kind: pivot }
`;
const letter = (index: number): StoredLetter =>
  ({ id: `0192f3c4-0000-7000-8000-00000000000${index}`, topic: "goconductor.default.payments.execute", key: `key-${index}`, payload: '{"version": 99}', reason: "unknown version 99" });

let participant: Participant;
const ids: Record<string, string> = {};

const fixture = startConsole(async (conductor) => {
  participant = await startParticipant("the hotel has no cancellation desk");
  await conductor.serve("trips", participant);
  await conductor.apply("trip", TRIP);
  await conductor.apply("consent", CONSENT);
  const faults = { pay: "refuse", cancel_hotel: "refuse" };
  for (let i = 0; i < STUCK; i += 1) {
    await conductor.call("POST", "/workflows", { definition: "trip", input: { faults }, labels: { order: `t-${i}` } });
  }
  for (const name of ["toSignal", "toCancel"]) {
    ids[name] = (await conductor.call<{ id: string }>("POST", "/workflows", { definition: "consent", input: {} })).id;
  }
  await conductor.call("PUT", "/secrets/payments-token", { value: "first" });
  conductor.store([letter(0), letter(1)]);
}, () => {
  const file = join(newFolder(), "master");
  writeFileSync(file, randomBytes(32).toString("base64"), { mode: 0o600 });
  return Promise.resolve({ settings: { "secrets.master_key": `file://${file}` }, moreQueues: ["kafka"] as const });
});
afterAll(() => participant?.close());

async function open(path: string): Promise<{ page: Page; keyboard: Keyboard }> {
  const page = await fixture.open(path, { keyboardOnly: true });
  await settled(page);
  return { page, keyboard: new Keyboard(page) };
}

/** Goes to a page by its key. */
async function go(keyboard: Keyboard, key: string, heading: string): Promise<void> {
  await keyboard.press("g", key);
  await keyboard.page.getByRole("heading", { name: heading, level: 1 }).waitFor();
  await settled(keyboard.page);
}

test("an order is found by its label, its failed undo is understood, and 100 of them are retried in bulk and end", async () => {
  const { page, keyboard } = await open("/");
  await page.getByText(`${STUCK} workflows are in error`).waitFor(LONG);
  await go(keyboard, "w", "Workflows");
  await page.getByText(/rows$/).waitFor();
  await keyboard.press("/");
  await page.keyboard.insertText("labels.order = t-42");
  await keyboard.press("Enter");
  await page.getByText("1 row", { exact: true }).waitFor();
  await keyboard.activate(page.locator("[role=row][data-index='0']"));
  await page.getByText("The compensation of “Hotel” failed").waitFor();
  await page.getByText("the hotel has no cancellation desk").first().waitFor();
  await page.getByText("order=t-42").waitFor();
  await page.getByRole("group", { name: "Graph of trip" }).getByRole("button", { name: /Hotel.*undo 1/ }).waitFor();
  await expectAccessible(page);
  await screenshots(page, "task-incident");
  await page.setViewportSize({ width: 1440, height: 900 });

  participant.repaired = true;
  await go(keyboard, "w", "Workflows");
  await keyboard.press("/");
  await page.keyboard.insertText("status = ERROR AND definition = trip");
  await keyboard.press("Enter");
  await page.getByText(`${STUCK} rows`).waitFor();
  await keyboard.to(page.locator("[role=row][data-index='0']"));
  await keyboard.press("Space");
  await keyboard.activate(page.getByRole("button", { name: `Select all ${STUCK} matching` }));
  await page.getByText(`All ${STUCK} matching selected`).waitFor();
  await keyboard.activate(page.getByRole("button", { name: "Retry", exact: true }));
  const dialog = page.getByRole("dialog", { name: "Retry workflows" });
  await dialog.getByText(`${STUCK} workflows are affected`).waitFor();
  await keyboard.fill(dialog.getByLabel("Reason"), "the hotel repaired its desk");
  await keyboard.activate(dialog.getByRole("button", { name: `Retry ${STUCK} workflows` }));
  await page.getByRole("heading", { name: `Retry · ${STUCK} of ${STUCK}` }).waitFor(LONG);
  await expectAccessible(page);
  await screenshots(page, "task-batch");
  await page.setViewportSize({ width: 1440, height: 900 });

  // Each of them ends: the list is live.
  await go(keyboard, "w", "Workflows");
  await keyboard.press("/");
  await page.keyboard.press("Control+a");
  await page.keyboard.insertText("definition = trip");
  await keyboard.press("Enter");
  await page.getByRole("button", { name: new RegExp(`Rolled back\\s*${STUCK}`) }).waitFor(LONG);
  await page.getByRole("button", { name: /Error\s*0/ }).waitFor();
  participant.repaired = false;
});

test("a workflow is started from the form", async () => {
  const { page, keyboard } = await open("/");
  await go(keyboard, "w", "Workflows");
  await keyboard.activate(page.getByRole("link", { name: "Start a workflow" }));
  await keyboard.to(page.getByLabel("Definition", { exact: true }));
  await keyboard.press("o"); // the first letter of order-processing
  await page.getByLabel("order_id").waitFor();
  await keyboard.fill(page.getByLabel("order_id"), "keyboard-1");
  await keyboard.fill(page.getByLabel("amount"), "42.5");
  await keyboard.activate(page.getByRole("button", { name: "Add an item" }));
  await keyboard.fill(page.getByLabel("Item 1", { exact: true }), '{"sku": "book", "quantity": 1}');
  await keyboard.activate(page.getByRole("button", { name: "Start", exact: true }));
  await page.waitForURL(/\/workflows\/[0-9a-f-]{36}/);
  await page.getByText("Completed", { exact: true }).first().waitFor();
});

test("a workflow is cancelled", async () => {
  const { page, keyboard } = await open(`/workflows/${ids["toCancel"]}`);
  await page.getByText("The step waits for the signal consent").waitFor();
  const cancel = page.getByRole("button", { name: "Cancel", exact: true });
  await keyboard.activate(cancel);
  const dialog = page.getByRole("dialog", { name: "Cancel the workflow?" });
  await dialog.waitFor();
  // Escape leaves the dialog, and the focus returns to where it was.
  await keyboard.press("Escape");
  await expect.poll(() => cancel.evaluate((element) => element.matches(":focus"))).toBe(true);
  await keyboard.press("Enter");
  await keyboard.fill(dialog.getByLabel("Reason"), "the customer called");
  await keyboard.activate(dialog.getByRole("button", { name: "Cancel workflow" }));
  await page.getByText("Rolled back because it was cancelled").waitFor();
});

test("a signal is answered", async () => {
  const { page, keyboard } = await open(`/workflows/${ids["toSignal"]}`);
  await keyboard.activate(page.getByRole("button", { name: "Send signal" }).first());
  const dialog = page.getByRole("dialog", { name: "Send the signal consent" });
  await keyboard.fill(dialog.getByLabel("Consented by"), "ada");
  await keyboard.activate(dialog.getByRole("button", { name: "Send signal" }));
  await page.getByText("Completed", { exact: true }).first().waitFor();
});

test("a dead letter is requeued", async () => {
  const { page, keyboard } = await open("/");
  await go(keyboard, "l", "Dead letters");
  await page.getByText("2 dead letters").waitFor();
  await keyboard.activate(page.locator("[role=row][data-index='0']"));
  await page.getByText("unknown version 99").first().waitFor();
  await keyboard.activate(page.getByRole("region", { name: /^0192f3c4/ }).getByRole("button", { name: "Requeue" }));
  const dialog = page.getByRole("dialog", { name: "Requeue 1 dead letter?" });
  await keyboard.activate(dialog.getByRole("button", { name: "Requeue" }));
  await page.getByText("1 message was requeued").waitFor();
  // A message that still cannot be read comes back under another id.
  await expect.poll(async () => (await fixture.conductor.call<{ dead_letters: { id: string }[] }>("GET", "/dead-letters")).dead_letters.filter((each) => each.id.startsWith("0192f3c4")).length, LONG).toBe(1);
});

test("an error in a definition is seen at its line, and corrected", async () => {
  const { page, keyboard } = await open("/");
  await go(keyboard, "d", "Definitions");
  await keyboard.activate(page.getByRole("link", { name: "consent", exact: true }));
  await keyboard.activate(page.getByRole("link", { name: "Edit", exact: true }));
  const editor = page.getByRole("textbox", { name: "Definition" });
  await keyboard.to(editor);
  await keyboard.press("Control+End");
  await page.keyboard.type("bogus: 1");
  const problem = page.getByRole("button", { name: /unknown key `bogus`/ });
  await problem.waitFor();
  await page.locator(".cm-lint-marker-error").waitFor();
  const place = /^(\d+):/.exec((await problem.textContent()) ?? "");
  expect(place?.[1]).toBe(String(CONSENT.split("\n").length));
  await screenshots(page, "task-problem");
  await page.setViewportSize({ width: 1440, height: 900 });
  // The problem leads to its line.
  await keyboard.activate(problem);
  await expect.poll(() => editor.evaluate((element) => element.matches(":focus"))).toBe(true);
  await keyboard.press("Control+End", "Shift+Home", "Delete");
  await page.getByText("The server accepts the draft.").waitFor();
});

test("a failure is simulated", async () => {
  const { page, keyboard } = await open("/");
  await go(keyboard, "d", "Definitions");
  await keyboard.activate(page.getByRole("link", { name: "trip", exact: true }));
  await keyboard.to(page.getByRole("tab", { name: "Graph" }));
  await keyboard.press("ArrowRight");
  await page.getByRole("tab", { name: "Simulate", selected: true }).waitFor();
  await page.locator(".step-box").first().waitFor();
  await keyboard.activate(page.getByRole("group", { name: "Graph of the simulation" }).getByRole("button", { name: /^Hotel/ }));
  await page.getByRole("region", { name: "Hotel refuses" }).waitFor();
  await page.getByText("Workflow rolled back").waitFor();
  await page.locator(".lane.undo").getByText("flight").waitFor();
  await keyboard.activate(page.getByRole("button", { name: "Play" }));
  await page.getByText("Workflow rolled back").waitFor();
});

test("a secret is rotated", async () => {
  const { page, keyboard } = await open("/");
  await go(keyboard, "x", "Secrets");
  await keyboard.activate(page.getByRole("row", { name: /payments-token/ }).getByRole("button", { name: "New version" }));
  await keyboard.fill(page.getByLabel("Value"), "second-value");
  await keyboard.press("Enter");
  await page.getByRole("row", { name: /payments-token\s*2/ }).waitFor();
  expect(await page.content()).not.toContain("second-value");
});

test.runIf(overProcesses)("the queue is switched while orders run, and back", async () => {
  const { page, keyboard } = await open("/");
  await go(keyboard, "q", "Queues");
  await page.getByText("NATS JetStream").first().waitFor();
  const orders = await Promise.all(Array.from({ length: 20 }, (_, index) => fixture.conductor.order(`switch-${index}`)));
  await keyboard.choose(page.getByRole("button", { name: "Switch to" }), "Kafka");
  const dialog = page.getByRole("dialog", { name: "Switch to Kafka?" });
  await keyboard.activate(dialog.getByRole("button", { name: "Switch" }));
  await page.getByRole("listitem").filter({ hasText: "Consume both" }).waitFor();
  await expectAccessible(page);
  await screenshots(page, "queue-switch");
  await page.setViewportSize({ width: 1440, height: 900 });
  await page.getByRole("region", { name: "Queue in use" }).getByText("Kafka").waitFor(LONG);
  for (const id of orders) {
    expect(await fixture.conductor.call("GET", `/workflows/${id}/result?wait=60s`)).toMatchObject({ status: "COMPLETED" });
  }
});

test.skipIf(overProcesses)("a server in one process offers no switch of its queue", async () => {
  const { page } = await open("/queues");
  await page.getByText("Memory").first().waitFor();
  expect(await page.getByRole("button", { name: "Switch to" }).count()).toBe(0);
});
