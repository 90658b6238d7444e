import { randomBytes } from "node:crypto";
import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { expectAccessible, screenshots, startConsole } from "./fixture";
import { Conductor } from "./server";

const BOOTSTRAP = randomBytes(32).toString("hex");
let viewer = "";
let doomed = { id: "", token: "" };

interface Created {
  key: { id: string };
  token: string;
}

const fixture = startConsole(async (conductor) => {
  viewer = (await conductor.call<Created>("POST", "/access/keys", { name: "viewer", roles: ["viewer"], namespaces: ["default"] })).token;
  const { key, token } = await conductor.call<Created>("POST", "/access/keys", { name: "doomed", roles: ["operator"], namespaces: ["default"] });
  doomed = { id: key.id, token };
}, async () => {
  const file = join(mkdtempSync(join(tmpdir(), "goconductor-key-")), "bootstrap");
  writeFileSync(file, BOOTSTRAP, { mode: 0o600 });
  const conductor = await Conductor.start("--demo", "--set", "access.enabled=true", "--set", `access.bootstrap_key=file://${file}`);
  conductor.token = BOOTSTRAP;
  return conductor;
});

async function signIn(path: string, key: string) {
  const page = await fixture.open(path);
  await page.getByLabel("Access key").fill(key);
  await page.keyboard.press("Enter");
  await page.getByRole("navigation").waitFor();
  return page;
}

for (const theme of ["light", "dark"] as const) {
  test(`sign-in replaces every page and shows the error (${theme})`, async () => {
    const page = await fixture.open("/sign-in?error=expired", { theme });
    await page.getByText("The sign-in took too long").waitFor();
    await expectAccessible(page);
    await screenshots(page, "sign-in", theme);
    await page.goto(`${fixture.url}/services`);
    await page.getByRole("button", { name: "Sign in" }).click();
    await page.getByText("State an access key.").waitFor();
    await page.getByLabel("Access key").fill("gck_wrong");
    await page.keyboard.press("Enter");
    await page.getByText("GC2062").waitFor();
    await expectAccessible(page);
  });
}

test("viewer finds no action, and no page that it may not read", async () => {
  const page = await signIn("/services?service=payments", viewer);
  await page.getByRole("heading", { name: "payments" }).waitFor();
  expect(await page.getByRole("button", { name: /Set a service|Edit settings|Delete settings/ }).count()).toBe(0);
  expect(await page.getByRole("link", { name: /Secrets|Access keys|Audit log|Configuration/ }).count()).toBe(0);
  for (const path of ["/schedules", "/workflows", "/locks"]) {
    await page.goto(`${fixture.url}${path}`);
    await page.getByRole("heading", { level: 1 }).waitFor();
    expect(await page.getByRole("button", { name: /New schedule|Start a workflow|Release/ }).count(), path).toBe(0);
  }
  await page.getByRole("button", { name: /^Signed in as/ }).click();
  await page.getByText("viewer", { exact: true }).waitFor();
  await expectAccessible(page);
  await page.getByRole("button", { name: "Sign out" }).click();
  await page.getByRole("heading", { name: "Sign in" }).waitFor();
});

test("session that ends keeps the page and what was entered", async () => {
  const page = await signIn("/services", BOOTSTRAP);
  await page.getByRole("button", { name: "Set a service" }).click();
  await page.getByLabel("Service", { exact: true }).fill("mail");
  await page.getByLabel("URL").fill("http://127.0.0.1:9/mail");
  await page.context().clearCookies();
  await page.keyboard.press("Enter");
  await page.getByRole("dialog", { name: "Sign in again" }).waitFor();
  await page.keyboard.press("Escape");
  await page.keyboard.press("Escape");
  await page.getByRole("dialog", { name: "Sign in again" }).getByLabel("Access key").fill(BOOTSTRAP);
  await page.keyboard.press("Enter");
  await page.getByRole("dialog", { name: "Sign in again" }).waitFor({ state: "detached" });
  expect(await page.getByLabel("URL").inputValue()).toBe("http://127.0.0.1:9/mail");
  await page.getByRole("dialog").getByRole("button", { name: "Set a service" }).click();
  await page.getByRole("row", { name: /mail/ }).waitFor();
  await page.getByText("Live", { exact: true }).waitFor();
});

test("key that is revoked ends its session", async () => {
  const page = await signIn("/services", doomed.token);
  await fixture.conductor.call("DELETE", `/access/keys/${doomed.id}`);
  await page.getByRole("dialog", { name: "Sign in again" }).waitFor({ timeout: 60_000 });
  await expectAccessible(page);
});

test("key is created, shown once, and revoked", async () => {
  const page = await signIn("/access-keys", BOOTSTRAP);
  await page.getByRole("button", { name: "Create a key" }).click();
  await page.getByLabel("Purpose").fill("orders backend");
  await page.getByLabel("operator").check();
  await page.getByRole("dialog").getByRole("button", { name: "Create a key" }).click();
  await page.getByText(/^gck_/).waitFor();
  await expectAccessible(page);
  await page.getByRole("button", { name: "I have stored it" }).click();
  expect(await page.getByText(/^gck_/).count()).toBe(0);
  await screenshots(page, "access-keys");
  await page.getByRole("row", { name: /orders backend/ }).getByRole("button", { name: "Revoke" }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Revoke" }).click();
  await page.getByRole("row", { name: /orders backend.*Revoked/ }).waitFor();
});
