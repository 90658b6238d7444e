// Definitions: the list, the views of one, the editor with the server's problems, simulation and the start form.
import { expect, test } from "vitest";
import { expectAccessible, screenshots, startConsole } from "./fixture";

const TRAVEL = `workflow: travel
title: Travel booking
input:
  type: object
  required: [traveller, needs_car]
  properties:
    traveller: { type: string, minLength: 1, description: Who travels. }
    needs_car: { type: boolean }
    class: { enum: [economy, business], default: economy }
    stops: { type: array, items: { type: object, required: [city], properties: { city: { type: string } } } }
steps:
  - name: book
    parallel:
      flight:
        - name: flight
          run: flights/book
          compensate: flights/cancel
      hotel:
        - name: hotel
          run: hotels/book
          compensate: hotels/cancel
  - name: pay
    run: payments/charge
    kind: pivot
  - name: send_tickets
    run: mail/send
    kind: retriable
`;

const fixture = startConsole(async (conductor) => {
  for (const text of [TRAVEL, TRAVEL.replace("hotels/cancel", "hotels/free").replace("Travel booking", "Travel")]) await conductor.apply("travel", text);
  for (let i = 0; i < 8; i += 1) await conductor.order(`o-${i}`, i % 4 === 0 ? "sold-out" : "book");
});

for (const theme of ["light", "dark"] as const) {
  test(`definitions show success, graph, versions and changes (${theme})`, async () => {
    const page = await fixture.open("/definitions", { theme });
    await page.getByText(/75(\.0)? %/).waitFor();
    await expectAccessible(page);
    await screenshots(page, "definitions", theme);
    await page.setViewportSize({ width: 1440, height: 900 });
    await page.getByRole("link", { name: "travel", exact: true }).click();
    await page.getByRole("grid", { name: "Steps" }).getByText("hotels/free").waitFor();
    await page.locator(".react-flow__node").first().waitFor();
    await expectAccessible(page);
    await screenshots(page, "definition", theme);
    await page.setViewportSize({ width: 1440, height: 900 });
    await page.getByRole("tab", { name: "Changes" }).click();
    await page.getByText("2 added, 2 removed").waitFor();
    await page.getByText("Step changed").waitFor();
    await expectAccessible(page);
    await screenshots(page, "definition-changes", theme);
  });

  test(`a failing step is simulated (${theme})`, async () => {
    const page = await fixture.open("/definitions/travel?tab=simulate", { theme });
    await page.getByRole("button", { name: "hotel refuses: Rolled back" }).click();
    await page.getByRole("region", { name: "hotel refuses" }).waitFor();
    await page.getByText("Workflow rolled back").waitFor();
    const undo = page.locator(".lane.undo");
    await undo.getByText("flight").waitFor();
    expect(await undo.getByText("pay").count()).toBe(0);
    await page.getByLabel("Event", { exact: true }).focus();
    await page.keyboard.press("Home");
    await undo.getByText("Pending").waitFor();
    await expectAccessible(page);
    await screenshots(page, "simulate", theme);
    await page.setViewportSize({ width: 1440, height: 900 });
    // A click on a step in the graph fails that step in the same way.
    await page.locator(".react-flow__node").filter({ hasText: "pay" }).getByRole("button").click();
    await page.getByRole("region", { name: "pay refuses" }).waitFor();
    await page.getByRole("button", { name: "Play" }).click();
    await page.getByText("Workflow rolled back").waitFor();
  });

  test(`the editor shows the server's problems at their lines (${theme})`, async () => {
    const page = await fixture.open("/editor/travel", { theme });
    await page.getByText("The server accepts the draft.").waitFor();
    const editor = page.getByRole("textbox", { name: "Definition" });
    await editor.click();
    await page.keyboard.press("Control+End");
    await page.keyboard.type("\nbogus: 1");
    await page.getByText(/unknown key `bogus`/).waitFor();
    await page.locator(".cm-lint-marker-error").waitFor();
    await expectAccessible(page);
    await screenshots(page, "editor", theme);
    await page.setViewportSize({ width: 1440, height: 900 });
    await page.getByRole("button", { name: "Discard the draft" }).click();
    await page.getByRole("dialog").getByRole("button", { name: "Discard the draft" }).click();
    await page.getByText("The server accepts the draft.").waitFor();
  });
}

test("a definition is written with completion, applied and started, by keyboard", async () => {
  const page = await fixture.open("/editor");
  await page.getByText("The server accepts the draft.").waitFor();
  const editor = page.getByRole("textbox", { name: "Definition" });
  await editor.focus();
  await page.keyboard.press("Control+a");
  await page.keyboard.press("Delete");
  await page.getByText(/needs is its name/).waitFor();
  await page.keyboard.type("workflow: from-console\ntit");
  await page.getByRole("option", { name: /^title/, selected: true }).waitFor();
  await page.keyboard.press("Enter");
  await page.keyboard.type("From the console\nsteps:\n  - name: charge\nrun: payments/charge\n");
  await page.getByText(/does not declare how it is compensated/).waitFor();
  await page.keyboard.type("compensate: payments/refund");
  await page.getByText("The server accepts the draft.").waitFor();
  await page.getByRole("button", { name: "Apply" }).focus();
  await page.keyboard.press("Enter");
  await page.getByRole("dialog").getByRole("button", { name: "Apply" }).focus();
  await page.keyboard.press("Enter");
  await page.getByRole("heading", { name: "from-console" }).waitFor();
  await page.getByRole("link", { name: "Start", exact: true }).focus();
  await page.keyboard.press("Enter");
  await page.waitForURL(/start\?definition=from-console/);
});

for (const theme of ["light", "dark"] as const) {
  test(`a workflow is started from the form (${theme})`, async () => {
    const page = await fixture.open("/start?definition=order-processing", { theme });
    await page.getByLabel("order_id").waitFor();
    await page.getByRole("button", { name: "Start", exact: true }).click();
    await page.getByText("Required.").first().waitFor();
    await expectAccessible(page);
    await screenshots(page, "start", theme);
    await page.setViewportSize({ width: 1440, height: 900 });
    await page.getByLabel("order_id").fill("form-1");
    await page.getByLabel("amount").fill("42.5");
    await page.getByRole("button", { name: "Add an item" }).click();
    await page.getByLabel("Item 1", { exact: true }).fill('{"sku": "book", "quantity": 1}');
    await page.getByLabel("Idempotency key").fill(`form-${theme}`);
    await page.getByRole("button", { name: "JSON", exact: true }).click();
    await page.getByRole("textbox", { name: "Input" }).waitFor();
    await page.getByRole("button", { name: "Form", exact: true }).click();
    await page.getByRole("button", { name: "Start", exact: true }).click();
    await page.waitForURL(/\/workflows\/[0-9a-f-]{36}/);
  });
}
