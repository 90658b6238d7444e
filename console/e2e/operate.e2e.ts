// Workflows in bulk: selection, batches and their progress.
import { expect, test } from "vitest";
import { expectAccessible, screenshots, startConsole } from "./fixture";

const fixture = startConsole(async (conductor) => {
  // No participant serves the second step: these workflows stay open until an operator acts.
  await conductor.call("PUT", "/definitions/stuck", {
    workflow: "stuck", steps: [{ name: "wait", wait_for_signal: "go" }, { name: "charge", run: "payments/charge", compensate: "payments/refund" }],
  });
  for (let i = 0; i < 90; i += 1) {
    await conductor.call("POST", "/workflows", { definition: "stuck", input: {}, labels: { team: i % 2 ? "shop" : "<img src=x onerror=alert(1)>" }, idempotency_key: `stuck-${i}` });
  }
  for (let i = 0; i < 10; i += 1) await conductor.order(`o-${i}`, i % 4 === 0 ? "sold-out" : "book");
});

for (const theme of ["light", "dark"] as const) {
  test(`some workflows are paused by a batch (${theme})`, async () => {
    const page = await fixture.open("/workflows?filter=definition%20%3D%20stuck", { theme });
    await page.getByText("90 rows").waitFor();
    const rows = page.getByLabel("Select row");
    for (const index of theme === "light" ? [0, 2] : [4, 6]) await rows.nth(index).check();
    await page.getByText("2 selected").waitFor();
    await expectAccessible(page);
    await screenshots(page, "workflows-selected", theme);
    await page.setViewportSize({ width: 1440, height: 900 });
    await page.getByRole("button", { name: "Pause", exact: true }).click();
    const dialog = page.getByRole("dialog", { name: "Pause workflows" });
    await dialog.getByText("2 workflows are affected").waitFor();
    await expectAccessible(page);
    await screenshots(page, "batch-dialog", theme);
    await page.setViewportSize({ width: 1440, height: 900 });
    await dialog.getByRole("button", { name: "Pause 2 workflows" }).click();
    await dialog.getByText("State a reason.").waitFor();
    await dialog.getByLabel("Reason").fill("price list is wrong");
    await dialog.getByRole("button", { name: "Pause 2 workflows" }).click();
    await page.getByRole("heading", { name: "Pause · 2 of 2" }).waitFor({ timeout: 60_000 });
    await page.getByText("price list is wrong").waitFor();
    await page.getByRole("grid", { name: "Workflows of the batch" }).getByText("Done").first().waitFor();
    await expectAccessible(page);
    await screenshots(page, "batch", theme);
    await page.goto(`${fixture.url}/batches`);
    await page.getByRole("row", { name: /Completed.*Pause/ }).first().waitFor();
    await expectAccessible(page);
    await screenshots(page, "batches", theme);
  });
}

test("all matching workflows are cancelled by a batch that is paused and resumed, by keyboard", async () => {
  const page = await fixture.open("/workflows?filter=definition%20%3D%20stuck%20AND%20status%20%3D%20IN_PROGRESS");
  await page.getByText(/^8\d rows$/).waitFor();
  await page.getByLabel("Select all loaded rows").focus();
  await page.keyboard.press("Space");
  // 86 are loaded, and more than one filter of ids is needed; the filter of the page is sent instead.
  await page.goto(`${fixture.url}/workflows?filter=definition%20%3D%20stuck`);
  await page.getByText("90 rows").waitFor();
  await page.getByRole("row").nth(1).focus();
  await page.keyboard.press("Space");
  await page.getByRole("button", { name: "Select all 90 matching" }).focus();
  await page.keyboard.press("Enter");
  await page.getByText("All 90 matching selected").waitFor();
  await page.getByRole("button", { name: "Cancel", exact: true }).focus();
  await page.keyboard.press("Enter");
  const dialog = page.getByRole("dialog", { name: "Cancel workflows" });
  await dialog.getByText("90 workflows are affected").waitFor();
  expect(await dialog.locator(".batch-filter").textContent()).toContain("created_at <=");
  await dialog.getByLabel("Operations per second").fill("5");
  await dialog.getByLabel("Reason").fill("not needed any more");
  await page.keyboard.press("Tab");
  await dialog.getByRole("button", { name: "Cancel 90 workflows" }).focus();
  await page.keyboard.press("Enter");
  await page.getByRole("button", { name: "Pause", exact: true }).click({ timeout: 60_000 });
  const pause = page.getByRole("dialog", { name: "Pause the batch" });
  await pause.getByLabel("Reason").fill("look first");
  await pause.getByRole("button", { name: "Pause", exact: true }).click();
  await page.getByRole("button", { name: "Resume", exact: true }).waitFor();
  await page.getByRole("button", { name: "Resume", exact: true }).click();
  const resume = page.getByRole("dialog", { name: "Resume the batch" });
  await resume.getByLabel("Reason").fill("looks right");
  await resume.getByRole("button", { name: "Resume", exact: true }).click();
  await page.getByRole("button", { name: "Cancel the batch" }).click();
  const cancel = page.getByRole("dialog", { name: "Cancel the batch" });
  await cancel.getByLabel("Reason").fill("enough");
  await cancel.getByRole("button", { name: "Cancel the batch" }).click();
  await page.getByText("Cancelled").first().waitFor();
});

test("views and columns are kept, sorting does not need the mouse", async () => {
  const page = await fixture.open("/workflows?filter=definition%20%3D%20%22order-processing%22");
  await page.getByText("10 rows").waitFor();
  await page.getByRole("button", { name: "Columns" }).click();
  await page.getByRole("checkbox", { name: "Idempotency key" }).check();
  await page.getByLabel("Column for a label").fill("team");
  await page.keyboard.press("Enter");
  await page.getByRole("columnheader", { name: "team" }).waitFor();
  await expectAccessible(page);
  await page.keyboard.press("Escape");
  await page.getByRole("button", { name: "Sort by Status" }).focus();
  await page.keyboard.press("Enter");
  await page.waitForURL(/sort=status/);
  await page.getByRole("button", { name: "Views" }).click();
  await page.getByLabel("Save the current view as").fill("My orders");
  await page.keyboard.press("Enter");
  await expectAccessible(page);
  await page.keyboard.press("Escape");
  await page.goto(`${fixture.url}/workflows`);
  await page.getByRole("button", { name: "Views" }).click();
  await page.getByRole("button", { name: "My orders", exact: true }).click();
  await page.waitForURL(/order-processing.*sort=status/);
  await page.getByRole("columnheader", { name: "team" }).waitFor();
});
