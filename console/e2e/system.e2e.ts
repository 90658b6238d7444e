// The pages about the system: each change, and what it leaves behind.
import { randomBytes } from "node:crypto";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { expectAccessible, screenshots, startConsole } from "./fixture";
import { newFolder } from "./server";

const POLL = { timeout: 60_000 };
const XSS = "<img src=x onerror=alert(1)>";
const input = { order_id: "n-${ schedule.time }", amount: 42, items: [{ sku: "book", quantity: 1 }] };

function masterKey(): string {
  const file = join(newFolder(), "master");
  writeFileSync(file, randomBytes(32).toString("base64"), { mode: 0o600 });
  return file;
}

const fixture = startConsole(async (conductor) => {
  await conductor.call("PUT", "/secrets/payments-token", { value: "first" });
  await conductor.call("PUT", "/schedules/nightly", { definition: "order-processing", cron: "30 2 * * *", timezone: "Europe/Berlin", input });
  await conductor.call("POST", "/locks/customer-1/acquire", { owner: XSS, ttl: "1h" });
  await conductor.call("PATCH", "/config?reason=first", { limits: { page_size: 50 } });
  await conductor.call("PATCH", "/config?reason=second", { limits: { body_bytes: "2MiB" } });
  await conductor.call("PUT", "/services/shipping", { http: { url: "http://127.0.0.1:9/x" } });
  conductor.store(Array.from({ length: 4 }, (_, index) => ({
    id: `0192f3c4-0000-7000-8000-00000000000${index}`, topic: "goconductor.default.payments.execute", key: `key-${index}`, payload: `{"note":"${XSS}"}`, reason: `unknown version ${XSS}`,
  })));
}, { settings: { "secrets.master_key": `file://${masterKey()}` } });

test("service is set, changed and deleted", async () => {
  const page = await fixture.open("/services");
  await page.getByRole("button", { name: "Set a service" }).click();
  await page.getByLabel("Service", { exact: true }).fill("mail");
  await page.getByLabel("URL").fill("http://127.0.0.1:9/mail");
  await page.getByLabel("Most commands in flight").fill("none");
  await page.getByRole("dialog").getByRole("button", { name: "Set a service" }).click();
  await page.getByText("Not a whole number").waitFor();
  await page.getByLabel("Most commands in flight").fill("8");
  await page.keyboard.press("Enter");
  await page.getByRole("row", { name: /mail/ }).click();
  await page.getByRole("button", { name: "Delete settings" }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Delete settings" }).click();
  await page.getByText("The settings of mail were deleted").waitFor();
  await page.getByRole("row", { name: /mail/ }).waitFor({ state: "detached" });
});

test("dead letters are deleted, requeued one by one and all at once", async () => {
  const page = await fixture.open("/dead-letters");
  const rows = page.locator("[role=row][data-index]");
  await expect.poll(() => rows.count(), POLL).toBe(4);
  await page.getByText(XSS).first().waitFor();
  await rows.first().focus();
  await page.keyboard.press(" ");
  await page.getByRole("button", { name: "Delete (1)" }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Delete" }).click();
  await page.getByText("1 message was deleted").waitFor();
  await expect.poll(() => rows.count(), POLL).toBe(3);
  await rows.first().click();
  await page.getByRole("region", { name: /^0192f3c4/ }).getByRole("button", { name: "Requeue" }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Requeue" }).click();
  await page.getByText("1 message was requeued").waitFor();
  await page.getByRole("button", { name: "Requeue all" }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Requeue all" }).click();
  await page.getByText(/messages were requeued/).waitFor();
  // A message that still cannot be read comes back under another id.
  await page.getByText("0192f3c4").first().waitFor({ state: "detached" });
});

test("schedule is created, paused with a reason, started, backfilled and deleted", async () => {
  const page = await fixture.open("/schedules");
  await page.getByRole("button", { name: "New schedule" }).click();
  await page.getByRole("textbox", { name: "Name", exact: true }).fill("often");
  await page.getByRole("combobox", { name: "Definition" }).fill("order-processing");
  await page.getByLabel("Due by").selectOption("every");
  await page.getByLabel("Interval").fill("15m");
  await page.getByLabel("Input").fill(JSON.stringify(input));
  await page.getByRole("dialog").getByRole("button", { name: "New schedule" }).click();
  await page.getByRole("heading", { name: "often" }).waitFor();
  await expect.poll(() => page.locator(".times li").count(), POLL).toBe(10);
  await page.getByRole("button", { name: "Pause" }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Pause" }).click();
  await page.getByText("State a reason.").waitFor();
  await page.getByLabel("Reason").fill("stock is counted");
  await page.getByRole("dialog").getByRole("button", { name: "Pause" }).click();
  await page.getByText("stock is counted").waitFor();
  await page.getByRole("button", { name: "Start now" }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Start now" }).click();
  await page.getByRole("row", { name: /trigger/ }).waitFor();
  await expectAccessible(page);
  await screenshots(page, "schedule");
  await page.getByRole("button", { name: "More" }).click();
  await page.getByRole("menuitem", { name: "Backfill" }).click();
  await page.getByLabel("From").fill("2026-01-01T00:00");
  await page.getByLabel("Until").fill("2025-01-01T00:00");
  await page.getByRole("dialog").getByRole("button", { name: "Backfill" }).click();
  await page.getByText("ends after its start").waitFor();
  await page.keyboard.press("Escape");
  await page.getByRole("button", { name: "More" }).click();
  await page.getByRole("menuitem", { name: "Delete" }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Delete" }).click();
  await page.getByText("The schedule often was deleted").waitFor();
});

test("lock is released and a leader steps down", async () => {
  const page = await fixture.open("/locks");
  await page.getByRole("row", { name: /customer-1/ }).getByRole("button", { name: "Release" }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Release" }).click();
  await page.getByText("No lock is held").waitFor();
  await page.goto(`${fixture.url}/elections`);
  await page.getByRole("row", { name: /duties\/0/ }).getByRole("button", { name: "Step down" }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Step down" }).click();
  await page.getByText("was ended").waitFor();
});

test("setting is checked, changed with a reason, compared and rolled back", async () => {
  const page = await fixture.open("/config?setting=limits.page_size");
  await page.getByRole("button", { name: "Change" }).click();
  await page.getByLabel("New value").fill("0");
  await page.keyboard.press("Enter");
  await page.getByRole("dialog").getByRole("alert").waitFor();
  await page.getByLabel("New value").fill("70");
  await page.keyboard.press("Enter");
  await page.getByLabel("Reason").fill("more rows");
  await page.getByRole("button", { name: "Save" }).click();
  await page.getByText("The configuration was changed").waitFor();
  await page.getByRole("row", { name: /limits\.page_size.*70/ }).waitFor();
  await page.getByRole("tab", { name: "History" }).click();
  await page.getByRole("row", { name: /second/ }).click();
  await page.getByText("/limits/page_size").waitFor();
  await page.getByRole("button", { name: "Roll back to it" }).click();
  await page.getByLabel("Reason").fill("back");
  await page.getByRole("dialog").getByRole("button", { name: "Roll back to it" }).click();
  await page.getByText("The settings are those of version 2").waitFor();
});

test("document shows the server's problem and completes names", async () => {
  const page = await fixture.open("/config?tab=document");
  const editor = page.getByRole("textbox", { name: "Settings of the API" });
  await editor.waitFor();
  await expectAccessible(page);
  await screenshots(page, "config-document");
  await editor.click();
  await page.keyboard.press("Control+a");
  await page.keyboard.insertText('{\n  "limits": {\n    "page_sizes": 5\n  }\n}');
  await page.getByRole("button", { name: "Check" }).click();
  await page.getByText(/page_sizes/).last().waitFor();
  await page.getByRole("alert").first().waitFor();
  await page.getByRole("button", { name: "Discard" }).click();
  await page.getByText("Not JSON").waitFor({ state: "detached" });
});

test("secret is set and rotated, and its value is never shown", async () => {
  const page = await fixture.open("/secrets");
  await page.getByRole("row", { name: /payments-token/ }).getByRole("button", { name: "New version" }).click();
  await page.getByLabel("Value").fill("second-value");
  await page.keyboard.press("Enter");
  await page.getByRole("row", { name: /payments-token\s*2/ }).waitFor();
  expect(await page.content()).not.toContain("second-value");
  await page.getByRole("button", { name: "Rotate keys" }).click();
  await page.getByRole("menuitem", { name: "Rotate the master key" }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Rotate the master key" }).click();
  await page.getByText("The master key is").waitFor();
});

test("audit log is filtered, opened, verified and exported", async () => {
  const page = await fixture.open("/audit");
  await page.getByLabel("Kind of target").fill("secret");
  await page.keyboard.press("Enter");
  await page.getByRole("row", { name: /secrets\.put/ }).first().waitFor();
  await page.getByText("services.put").waitFor({ state: "detached" });
  expect(page.url()).toContain("target_kind=secret");
  await page.getByRole("row", { name: /secrets\.put/ }).first().focus();
  await page.keyboard.press("Enter");
  await page.getByText("Hash before").waitFor();
  await page.keyboard.press("Escape");
  await page.getByRole("button", { name: "Verify" }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Verify" }).click();
  await page.getByText("The chain is whole").waitFor();
  await expectAccessible(page);
  await page.keyboard.press("Escape");
  await page.getByRole("button", { name: "Export" }).click();
  const download = page.waitForEvent("download");
  await page.getByRole("menuitem", { name: "CSV" }).click();
  expect((await download).suggestedFilename()).toMatch(/^goconductor-audit-.*\.csv$/);
});

test("destructive change in a protected namespace needs its name", async () => {
  await fixture.conductor.call("PUT", "/services/other", { http: { url: "http://127.0.0.1:9/x" } });
  const page = await fixture.open("/services?service=other");
  await page.getByRole("button", { name: /^Namespace default/ }).click();
  await page.getByLabel("Ask for its name before destructive changes").check();
  await page.keyboard.press("Escape");
  await page.getByRole("button", { name: "Delete settings" }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Delete settings" }).click();
  await page.getByRole("alert").getByText("Type default to confirm").waitFor();
  await page.getByLabel("Type default to confirm").fill("default");
  await page.keyboard.press("Enter");
  await page.getByText("The settings of other were deleted").waitFor();
});
