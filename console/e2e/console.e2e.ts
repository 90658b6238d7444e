import { expect, test } from "vitest";
import { expectAccessible, screenshots, startConsole } from "./fixture";

const XSS = "<img src=x onerror=alert(1)>";

const fixture = startConsole(async (conductor) => {
  for (let i = 0; i < 30; i += 1) await conductor.order(`o-${i}`, i % 4 === 0 ? "sold-out" : "book", { team: i % 2 ? "shop" : XSS });
});

for (const theme of ["light", "dark"] as const) {
  test(`home shows counts and services (${theme})`, async () => {
    const page = await fixture.open("/", { theme });
    await page.getByRole("heading", { name: "Workflows by status" }).waitFor();
    await page.getByRole("link", { name: /8\s*Rolled back/ }).waitFor();
    await page.getByRole("row", { name: /payments/ }).waitFor();
    await page.getByText("Live", { exact: true }).waitFor();
    await expectAccessible(page);
    await screenshots(page, "home", theme);
  });

  test(`workflows are listed and filtered (${theme})`, async () => {
    const page = await fixture.open("/workflows?filter=status%20%3D%20ROLLED_BACK", { theme });
    await page.getByText("8 rows").waitFor();
    await expectAccessible(page);
    await screenshots(page, "workflows", theme);
  });
}

test("list is updated live, keeps its rows, and says when the server is away", async () => {
  const page = await fixture.open("/workflows");
  await page.getByText("30 rows").waitFor();
  await page.getByText("Live", { exact: true }).waitFor();
  await fixture.conductor.order("o-new");
  await page.getByRole("button", { name: "1 new workflow" }).click();
  await page.getByText("31 rows").waitFor();
  const { conductor } = fixture;
  await conductor.kill();
  await page.getByText("Stale since").waitFor({ timeout: 60_000 });
  await page.getByText("31 rows").waitFor();
  // With another gateway, workflows start and end while the page has none.
  if (conductor.survives) await conductor.order("o-away");
  await conductor.start();
  if (!conductor.survives) await conductor.order("o-away");
  await page.getByText("Live", { exact: true }).waitFor({ timeout: 60_000 });
  const fresh = page.getByRole("button", { name: "1 new workflow" });
  await page.getByText("32 rows").or(fresh).waitFor();
  if (await fresh.isVisible()) await fresh.click();
  await page.getByText("32 rows").waitFor();
});

test("filter, palette, namespace and help are reached by keyboard", async () => {
  const page = await fixture.open("/workflows");
  await page.getByText(/rows/).waitFor();
  await page.keyboard.press("/");
  await page.keyboard.type("status = NONSENSE");
  await page.keyboard.press("Enter");
  await page.getByRole("alert").first().waitFor();
  await page.keyboard.press("Control+a");
  await page.keyboard.type('idempotency_key = "nothing"');
  await page.keyboard.press("Enter");
  await page.getByText("No workflow matches").waitFor();
  expect(page.url()).toContain("idempotency_key");
  await page.keyboard.press("Control+k");
  await page.keyboard.type("home");
  await page.keyboard.press("Enter");
  await page.getByRole("heading", { name: "Home" }).waitFor();
  await page.keyboard.press("?");
  await page.getByRole("dialog", { name: "Keyboard shortcuts" }).waitFor();
  await expectAccessible(page);
  await page.keyboard.press("Escape");
  await page.goto(`${fixture.url}/ns/team-a/`);
  await page.getByText("No workflow yet").waitFor();
  for (const theme of ["light", "dark"] as const) {
    await page.emulateMedia({ colorScheme: theme });
    await expectAccessible(page);
    await screenshots(page, "home-empty", theme);
  }
});
