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
const ids: Record<string, string> = {};
let participant: Participant;

const fixture = startConsole(async (conductor) => {
  participant = await startParticipant(`refused ${XSS}`);
  await conductor.serve("trips", participant);
  await conductor.apply("trip", TRIP);
  const trip = async (name: string, faults: Record<string, string>) => {
    ids[name] = (await conductor.call<{ id: string }>("POST", "/workflows", { definition: "trip", input: { faults }, labels: { team: XSS } })).id;
  };
  ids["completed"] = await conductor.order("o-1");
  ids["rolledBack"] = await conductor.order("o-2", "sold-out");
  await trip("waiting", {});
  await trip("toCancel", {});
  await trip("repeated", { flight: "once" });
  await trip("toMigrate", {});
  ids["toRerun"] = await conductor.order("o-3");
  await trip("stuck", { charge: "refuse", cancel_hotel: "refuse" });
  await conductor.apply("trip", `${TRIP}  - { name: thanks, title: Thanks, kind: retriable, run: trips/thanks }\n`);
  for (const id of [ids["completed"], ids["rolledBack"], ids["toRerun"]]) await conductor.call("GET", `/workflows/${id}/result?wait=20s`);
  await conductor.call("POST", `/workflows/${ids["stuck"]}/signals/consent`, { by: "ada" });
});
afterAll(() => participant?.close());

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
  await page.getByText("Paused by an operator").waitFor({ state: "detached" });
  await page.getByRole("dialog").waitFor({ state: "detached" });
  await page.getByText("The step waits for the signal consent").waitFor();
  await page.getByRole("button", { name: "Cancel", exact: true }).first().click();
  const dialog = page.getByRole("dialog", { name: "Cancel the workflow?" });
  await dialog.getByRole("button", { name: "Cancel workflow" }).click();
  await dialog.getByText("State a reason.").waitFor();
  await dialog.getByLabel("Reason").fill("not needed");
  await dialog.getByRole("button", { name: "Cancel workflow" }).click();
  await page.getByText("Rolled back because it was cancelled").waitFor();
});

test("a page whose gateway is killed says so, comes back by itself, and misses no event", async () => {
  const { conductor } = fixture;
  const { id } = await conductor.call<{ id: string }>("POST", "/workflows", { definition: "trip", input: {} });
  const page = await fixture.open(`/workflows/${id}?tab=history`);
  await page.getByText("Step waiting").waitFor();
  const signal = () => conductor.call("POST", `/workflows/${id}/signals/consent`, { by: "ada" });
  await conductor.kill();
  await page.getByText("The server does not respond").waitFor({ timeout: 60_000 });
  await expectAccessible(page);
  // With another gateway, the workflow ends while the page has none.
  if (conductor.survives) {
    await signal();
    await conductor.call("GET", `/workflows/${id}/result?wait=30s`);
  }
  await conductor.start();
  if (!conductor.survives) await signal();
  await page.getByText("Live", { exact: true }).waitFor({ timeout: 60_000 });
  await page.getByText("Workflow completed").waitFor({ timeout: 60_000 });
  await page.getByText("Completed", { exact: true }).first().waitFor();
  const { seq } = await conductor.call<{ seq: number }>("GET", `/workflows/${id}`);
  const seqs = await page.locator(".table .tr.body .td:first-child").allTextContents();
  expect(seqs).toEqual(Array.from({ length: seq }, (_, index) => String(index + 1)));
});

for (const theme of ["light", "dark"] as const) {
  test(`a workflow is migrated to a version that was checked (${theme})`, async () => {
    const page = await open("toMigrate", "", { theme });
    await page.getByRole("button", { name: "Actions" }).click();
    await page.getByRole("menuitem", { name: "Migrate" }).click();
    const dialog = page.getByRole("dialog", { name: "Migrate to another version" });
    await dialog.getByText("The workflow can follow this version.").waitFor();
    await dialog.getByText("thanks").waitFor();
    await expectAccessible(page);
    await screenshots(page, "migrate-dialog", theme);
    await page.setViewportSize({ width: 1440, height: 900 });
    if (theme === "light") {
      await page.keyboard.press("Escape");
      return;
    }
    await dialog.getByLabel(/^Reason/).fill("thank them");
    await dialog.getByRole("button", { name: "Migrate" }).click();
    await page.getByText("v2", { exact: true }).first().waitFor();
    await graphOf(page).getByRole("button", { name: /Thanks/ }).waitFor();
  });

  test(`a workflow is run again, of all steps or from one (${theme})`, async () => {
    const page = await open("toRerun", "?step=update_inventory", { theme });
    await page.getByRole("complementary", { name: "Update Inventory" }).getByRole("button", { name: "Re-run from here" }).click();
    await page.getByRole("dialog", { name: "Re-run from “Update Inventory”?" }).waitFor();
    await page.keyboard.press("Escape");
    await page.getByRole("button", { name: "Actions" }).click();
    await page.getByRole("menuitem", { name: "Re-run" }).click();
    const dialog = page.getByRole("dialog", { name: "Re-run the workflow?" });
    await dialog.getByText("Their effects are undone first").waitFor();
    await expectAccessible(page);
    await screenshots(page, "rerun-dialog", theme);
    await page.setViewportSize({ width: 1440, height: 900 });
    await dialog.getByLabel("Reason").fill("once more");
    await dialog.getByRole("button", { name: "Re-run" }).click();
    await page.getByText("The re-run has begun.").waitFor();
    await page.getByRole("complementary").getByText("Run", { exact: true }).waitFor();
    await page.getByText("Completed", { exact: true }).first().waitFor();
  });

  test(`two attempts of a step are compared (${theme})`, async () => {
    const page = await open("repeated", "?tab=data&of=flight", { theme });
    const compared = page.getByRole("region", { name: "Compare attempts" });
    await compared.getByRole("columnheader", { name: "Execute 1" }).waitFor();
    await compared.getByText("BUSY").first().waitFor();
    await compared.getByText('"flight"').first().waitFor();
    await expectAccessible(page);
    await screenshots(page, "workflow-attempts", theme);
  });
}

test("an unknown workflow says so", async () => {
  const page = await fixture.open("/workflows/01a22caa-dc69-7172-9067-000000000000");
  await page.getByText("No workflow has this ID").waitFor();
  await expectAccessible(page);
});
