// Every page in both themes: it shows its content, axe finds nothing, also at 320 px, and no text that users and participants
// control is anything but text.
import { randomBytes } from "node:crypto";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Page } from "playwright-core";
import { afterAll, expect, test } from "vitest";
import { pages } from "../src/routes";
import { expectAccessible, screenshots, settled, startConsole } from "./fixture";
import { startParticipant, type Participant } from "./participant";
import { newFolder } from "./server";

const XSS = `<img src=x onerror=alert(1)>'"><script>alert(2)</script>`;
const DEFINITION = {
  workflow: "strange", title: XSS, description: XSS,
  input: { type: "object", title: XSS, description: XSS, properties: { note: { type: "string", description: XSS, examples: [XSS] } } },
  steps: [
    { name: "first", title: `first ${XSS}`, run: "trips/first", input: "${ input }", compensate: "trips/undo_first" },
    { name: "ask", title: `ask ${XSS}`, wait_for_signal: { signal: "go", schema: { type: "object", title: XSS, properties: { by: { type: "string", title: XSS, description: XSS } } } } },
    { name: "second", title: `second ${XSS}`, run: "trips/second", input: "${ input }", compensate: "trips/undo_second" },
  ],
  output: { note: "${ input.note }" },
};
const LETTER = "0192f3c4-0000-7000-8000-000000000000";
const SECOND = { name: "also strange", title: `other ${XSS}` };

let participant: Participant;
const ids: Record<string, string> = {};

const fixture = startConsole(async (conductor) => {
  participant = await startParticipant(XSS);
  await conductor.serve("trips", participant);
  await conductor.call("PUT", "/definitions/strange", DEFINITION);
  await conductor.call("PUT", "/definitions/strange", { ...DEFINITION, title: SECOND.title });
  const begin = async (name: string, faults: Record<string, string>) => {
    const body = { definition: "strange", input: { note: XSS, [XSS]: XSS, faults }, labels: { team: XSS }, idempotency_key: `${name} ${XSS}` };
    ids[name] = (await conductor.call<{ id: string }>("POST", "/workflows", body)).id;
  };
  await begin("waiting", {});
  await begin("completed", {});
  await begin("rolledBack", { second: "refuse" });
  await begin("error", { second: "refuse", undo_first: "refuse" });
  await begin("cancelled", {});
  await begin("paused", {});
  for (const name of ["completed", "rolledBack", "error"]) await conductor.call("POST", `/workflows/${ids[name]}/signals/go`, { by: XSS });
  await conductor.call("POST", `/workflows/${ids["cancelled"]}/cancel`, { reason: XSS });
  await conductor.call("POST", `/workflows/${ids["paused"]}/pause`, { reason: XSS });
  const filter = `id = "${ids["paused"]}"`;
  ids["batch"] = (await conductor.call<{ id: string }>("POST", "/batches", { operation: "retry", filter, reason: XSS, expected_count: 1 })).id;
  await conductor.call("PUT", "/schedules/nightly", { definition: "strange", cron: "30 2 * * *", timezone: "Europe/Berlin", input: { note: XSS }, labels: { team: XSS } });
  await conductor.call("POST", "/schedules/nightly/pause", { reason: XSS });
  await conductor.call("POST", `/locks/customer-1/acquire`, { owner: XSS, ttl: "1h" });
  await conductor.call("PATCH", `/config?reason=${encodeURIComponent(XSS)}`, { limits: { page_size: 50 } });
  await conductor.call("PATCH", "/config?reason=second", { limits: { body_bytes: "2MiB" } });
  await conductor.call("PUT", "/secrets/payments-token", { value: XSS });
  conductor.store([{ id: LETTER, topic: XSS, key: XSS, payload: JSON.stringify({ [XSS]: XSS }), reason: XSS }]);
}, () => {
  const file = join(newFolder(), "master");
  writeFileSync(file, randomBytes(32).toString("base64"), { mode: 0o600 });
  return Promise.resolve({ settings: { "secrets.master_key": `file://${file}` } });
});
afterAll(() => participant?.close());

interface Visit {
  name: string;
  path: (ids: Readonly<Record<string, string>>) => string;
  /** A text that the page shows. Default: the markup that must stay text. */
  text?: string | RegExp;
  /** The page with the markup in another part, such as a row. */
  row?: RegExp;
}

const workflow = (name: string, query = "") => (all: Readonly<Record<string, string>>) => `/workflows/${all[name]}${query}`;
/** The pages by their route. A route without an entry fails the test. */
const VISITS: Readonly<Record<string, readonly Visit[]>> = {
  "/": [{ name: "home", path: () => "/", text: "1 workflow is in error", row: /strange/ }],
  "/workflows": [{ name: "workflows", path: () => "/workflows" }],
  "/workflows/:id": [
    { name: "workflow-waiting", path: workflow("waiting") },
    { name: "workflow-completed", path: workflow("completed") },
    { name: "workflow-rolled-back", path: workflow("rolledBack") },
    { name: "workflow-error", path: workflow("error", "?step=first") },
    { name: "workflow-cancelled", path: workflow("cancelled") },
    { name: "workflow-paused", path: workflow("paused") },
    { name: "workflow-timeline", path: workflow("error", "?tab=timeline") },
    { name: "workflow-history", path: workflow("cancelled", "?tab=history") },
    { name: "workflow-data", path: workflow("completed", "?tab=data") },
    { name: "workflow-data-step", path: workflow("rolledBack", "?tab=data&of=second") },
    { name: "workflow-relations", path: workflow("completed", "?tab=relations"), text: "Not started by a schedule." },
    { name: "workflow-audit", path: workflow("cancelled", "?tab=audit") },
    { name: "workflow-tree", path: workflow("error", "?view=tree") },
  ],
  "/batches": [{ name: "batches", path: () => "/batches" }],
  "/batches/:id": [{ name: "batch", path: (all) => `/batches/${all["batch"]}` }],
  "/definitions": [{ name: "definitions", path: () => "/definitions" }],
  "/definitions/:name": [
    { name: "definition", path: () => "/definitions/strange" },
    { name: "definition-simulate", path: () => "/definitions/strange?tab=simulate&fail=second=refused" },
    { name: "definition-source", path: () => "/definitions/strange?tab=source" },
    { name: "definition-versions", path: () => "/definitions/strange?tab=versions", text: "v1" },
    { name: "definition-changes", path: () => "/definitions/strange?tab=changes" },
  ],
  "/editor": [{ name: "editor-new", path: () => "/editor", text: "The server accepts the draft." }],
  "/editor/:name": [{ name: "editor", path: () => "/editor/strange", text: "The server accepts the draft." }],
  "/start": [{ name: "start", path: () => "/start?definition=strange" }],
  "/schedules": [{ name: "schedules", path: () => "/schedules", row: /nightly/, text: "Paused" }],
  "/schedules/:name": [{ name: "schedule", path: () => "/schedules/nightly" }],
  "/services": [{ name: "services", path: () => "/services?service=trips", row: /trips/, text: "Executors that serve it" }],
  "/queues": [{ name: "queues", path: () => "/queues", row: /trips/, text: "Queue in use" }],
  "/dead-letters": [{ name: "dead-letters", path: () => `/dead-letters?letter=${LETTER}` }],
  "/locks": [{ name: "locks", path: () => "/locks" }],
  "/elections": [{ name: "elections", path: () => "/elections", row: /duties/, text: "Leader" }],
  "/processes": [{ name: "processes", path: () => "/processes", row: /Saga executor/, text: "Last seen" }],
  "/config": [
    { name: "config", path: () => "/config?setting=limits.page_size", row: /limits\.page_size/, text: "Meaning" },
    { name: "config-document", path: () => "/config?tab=document", text: "JSON in the form of the configuration file" },
    { name: "config-history", path: () => "/config?tab=history&version=1" },
    { name: "config-processes", path: () => "/config?tab=processes", row: /Saga executor/, text: "Version in effect" },
  ],
  "/secrets": [{ name: "secrets", path: () => "/secrets", row: /payments-token/, text: "Values can be written, never read." }],
  "/access-keys": [{ name: "access-keys-off", path: () => "/access-keys", text: "Access control is off." }],
  "/audit": [{ name: "audit", path: () => "/audit", row: /workflows\.cancel/, text: "Verify" }],
};

/** Checks that the markup became no element. The script and the handler would have opened a dialog, which fails the file. */
async function expectOnlyText(page: Page, name: string): Promise<void> {
  const found = await page.evaluate(() => [...document.querySelectorAll("img[src=x], script:not([src])")].map((each) => each.outerHTML));
  expect(found, name).toEqual([]);
}

async function visit(each: Visit, theme: "light" | "dark"): Promise<void> {
  const page = await fixture.open(each.path(ids), { theme });
  await settled(page);
  if (each.row) await page.getByRole("row", { name: each.row }).first().waitFor();
  await page.getByText(each.text ?? XSS).locator("visible=true").first().waitFor();
  await expectOnlyText(page, each.name);
  await expectAccessible(page);
  await screenshots(page, `page-${each.name}`, theme);
  // The screenshots end at 320 px.
  await expectAccessible(page);
  await expectOnlyText(page, each.name);
  await page.close();
}

test("every route has a visit", () => {
  expect(Object.keys(VISITS).sort()).toEqual(pages.map((each) => each.path).sort());
});

for (const theme of ["light", "dark"] as const) {
  for (const [route, visits] of Object.entries(VISITS)) {
    test(`${route} is accessible and shows only text (${theme})`, async () => {
      for (const each of visits) await visit(each, theme);
    }, 600_000);
  }
}

test("names and reasons stay text in lists with a column for them, in dialogs and in the palette", async () => {
  const page = await fixture.open("/workflows");
  await page.getByText("6 rows").waitFor();
  await page.getByRole("button", { name: "Columns" }).click();
  await page.getByRole("checkbox", { name: "Idempotency key" }).check();
  await page.getByLabel("Column for a label").fill("team");
  await page.keyboard.press("Enter");
  await page.keyboard.press("Escape");
  await page.getByRole("columnheader", { name: "team" }).waitFor();
  await page.getByText(`waiting ${XSS}`).first().waitFor();
  await page.getByLabel("Select row").first().check();
  await page.getByRole("button", { name: "Pause", exact: true }).click();
  await page.getByRole("dialog", { name: "Pause workflows" }).getByLabel("Reason").fill(XSS);
  await expectOnlyText(page, "the dialog of a batch");
  await page.keyboard.press("Escape");
  await page.getByRole("textbox", { name: "Filter", exact: true }).fill(`idempotency_key = ${JSON.stringify(XSS)}`);
  await page.keyboard.press("Enter");
  await page.getByText("No workflow matches").waitFor();
  await page.keyboard.press("Control+k");
  await page.keyboard.insertText(XSS);
  await page.getByText(new RegExp(`Find workflows with the idempotency key`)).waitFor();
  await expectOnlyText(page, "the palette");
  await page.keyboard.press("Escape");
  await page.goto(`${fixture.url}/workflows/${ids["waiting"]}`);
  await page.getByRole("button", { name: "Send signal" }).first().click();
  await page.getByRole("dialog").getByText(XSS).first().waitFor();
  await expectOnlyText(page, "the form of a signal");
});

test("the browser refuses scripts and hosts that are not the console's", async () => {
  const { headers } = await fetch(fixture.url + "/");
  const policy = headers.get("content-security-policy") ?? "";
  expect(policy).toContain("default-src 'self'");
  expect(policy).not.toMatch(/unsafe-(?:inline|eval)|https?:|\*/);
  expect(headers.get("x-content-type-options")).toBe("nosniff");
});
