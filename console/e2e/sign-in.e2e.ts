// Sign-in with an access key and at an identity provider, and a console without actions for a role that may only read.
import { randomBytes } from "node:crypto";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Page } from "playwright-core";
import { afterAll, expect, test } from "vitest";
import { pages } from "../src/routes";
import { allowedHosts, expectAccessible, screenshots, settled, startConsole } from "./fixture";
import { CLIENT, startIssuer, type Issuer } from "./issuer";
import { Keyboard } from "./keyboard";
import { startParticipant, type Participant } from "./participant";
import { newFolder } from "./server";

const BOOTSTRAP = randomBytes(32).toString("hex");
const XSS = "<img src=x onerror=alert(1)>";
const STUCK = {
  workflow: "stuck",
  steps: [
    { name: "book", run: "trips/book", input: "${ input }", compensate: "trips/free" }, { name: "pay", run: "trips/pay", input: "${ input }", compensate: "trips/refund" },
    { name: "wait", wait_for_signal: "go" },
  ],
};
let viewer = "";
let doomed = { id: "", token: "" };
let issuer: Issuer;
let participant: Participant;
/** The paths of one thing of each kind, for the routes with a parameter. */
const things: Record<string, string> = {};

interface Created {
  key: { id: string };
  token: string;
}

const fixture = startConsole(async (conductor) => {
  viewer = (await conductor.call<Created>("POST", "/access/keys", { name: "viewer", roles: ["viewer"], namespaces: ["default"] })).token;
  const { key, token } = await conductor.call<Created>("POST", "/access/keys", { name: `doomed ${XSS}`, roles: ["operator"], namespaces: ["default"] });
  doomed = { id: key.id, token };
  participant = await startParticipant();
  await conductor.serve("trips", participant);
  await conductor.call("PUT", "/definitions/stuck", STUCK);
  const begin = async (input: unknown) => (await conductor.call<{ id: string }>("POST", "/workflows", { definition: "stuck", input })).id;
  things["/workflows/:id"] = await begin({});
  things["retried"] = await begin({ faults: { pay: "refuse", free: "refuse" } });
  await conductor.call("PUT", "/schedules/nightly", { definition: "stuck", cron: "30 2 * * *", input: {} });
  await conductor.call("POST", "/locks/customer-1/acquire", { owner: "a till", ttl: "1h" });
  const filter = "definition = stuck";
  const { count } = await conductor.call<{ count: number }>("POST", "/batches", { operation: "pause", filter, reason: "none", dry_run: true });
  const batch = await conductor.call<{ id: string }>("POST", "/batches", { operation: "pause", filter: `${filter} AND id = "${things["retried"]}"`, reason: "for the list", expected_count: Math.min(1, count) });
  things["/batches/:id"] = batch.id;
  things["/schedules/:name"] = "nightly";
  things["/definitions/:name"] = "stuck";
  things["/editor/:name"] = "stuck";
}, async () => {
  const file = join(newFolder(), "bootstrap");
  writeFileSync(file, BOOTSTRAP, { mode: 0o600 });
  issuer = await startIssuer();
  allowedHosts.push(issuer.url);
  return {
    token: BOOTSTRAP,
    settings: {
      "access.enabled": "true", "access.bootstrap_key": `file://${file}`,
      "access.oidc.issuer": issuer.url, "access.oidc.audience": "goconductor", "access.oidc.client_id": CLIENT, "access.session.public_url": "{url}",
      "access.bindings.viewers.subjects": "group:viewers", "access.bindings.viewers.roles": "viewer", "access.bindings.viewers.namespaces": "default",
    },
  };
});
afterAll(async () => {
  await issuer?.close();
  await participant?.close();
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
    await page.getByRole("button", { name: "Sign in with the identity provider" }).waitFor();
    await page.getByText("The sign-in took too long").waitFor();
    await expectAccessible(page);
    await screenshots(page, "sign-in", theme);
    await page.goto(`${fixture.url}/services`);
    await page.getByRole("button", { name: "Sign in", exact: true }).click();
    await page.getByText("State an access key.").waitFor();
    await page.getByLabel("Access key").fill("gck_wrong");
    await page.keyboard.press("Enter");
    await page.getByText("GC2062").waitFor();
    await expectAccessible(page);
  });
}

/** The texts of every button and menu item that changes something, or leads to a form that does. */
const ACTIONS = new RegExp(`^(?:${[
  "Start", "Start a workflow", "Start now", "Cancel", "Cancel the batch", "Pause", "Resume", "Compensate", "Terminate", "Actions", "Migrate", "Re-run", "Re-run from here",
  "Retry", "Retry undo", "Skip", "Skip undo", "Complete", "Record as undone", "Send signal", "New definition", "Edit", "Apply", "Delete", "More", "More actions", "New schedule",
  "Backfill", "Set a service", "Edit settings", "Delete settings", "Switch to", "Requeue", "Requeue all", "Release", "Step down", "Change", "Review and save", "Remove from the API",
  "Roll back to it", "Set a secret", "New version", "Rotate keys", "Create a key", "Rotate", "Revoke",
].join("|")})(?: \\(\\d+\\))?$`);

async function expectNoAction(page: Page, path: string): Promise<void> {
  const found = await page.locator("main").locator("button, a.button, [role=menuitem]").evaluateAll((elements) => elements.map((each) => (each.getAttribute("aria-label") ?? each.textContent).trim()));
  expect(found.filter((text) => ACTIONS.test(text)), path).toEqual([]);
  expect(await page.getByLabel("Select row").count(), path).toBe(0);
}

test("viewer finds no action on any page, and no page that it may not read", async () => {
  const page = await signIn("/", viewer);
  const kept = await page.getByRole("navigation").getByRole("link").evaluateAll((links) => links.map((each) => each.getAttribute("href")?.replace("/ui", "")));
  expect(kept).toContain("/workflows");
  for (const hidden of ["/secrets", "/access-keys", "/audit", "/config", "/queues", "/dead-letters", "/elections"]) expect(kept).not.toContain(hidden);
  const others = pages.filter((each) => !each.nav).map((each) => each.path.replace(/:\w+$/, () => things[each.path] ?? "missing"));
  const paths = [...kept.map((each) => each ?? ""), ...others, `/workflows/${things["retried"]}`, `/workflows/${things["/workflows/:id"]}?step=wait`, "/services?service=payments"];
  for (const path of paths) {
    await page.goto(`${fixture.url}${path}`);
    await settled(page);
    await expectNoAction(page, path);
  }
  await page.goto(`${fixture.url}/workflows/${things["/workflows/:id"]}`);
  await page.getByText("The step waits for the signal go").waitFor();
  await expectNoAction(page, "a workflow that waits for a signal");
  await page.getByRole("button", { name: /^Signed in as/ }).click();
  await page.getByText("viewer", { exact: true }).waitFor();
  await expectAccessible(page);
  await page.getByRole("button", { name: "Sign out" }).click();
  await page.getByRole("heading", { name: "Sign in" }).waitFor();
});

test("user signs in at the identity provider, by keyboard, and returns to the page", async () => {
  Object.assign(issuer, { subject: `ada ${XSS}`, groups: ["viewers"] });
  const page = await fixture.open("/schedules", { keyboardOnly: true });
  const keyboard = new Keyboard(page);
  await keyboard.activate(page.getByRole("button", { name: "Sign in with the identity provider" }));
  await keyboard.activate(page.getByRole("link", { name: "Refuse" }));
  await page.getByText("The sign-in was denied").waitFor();
  await expectAccessible(page);
  await keyboard.activate(page.getByRole("button", { name: "Sign in with the identity provider" }));
  await keyboard.activate(page.getByRole("link", { name: "Allow" }));
  await page.getByRole("row", { name: /nightly/ }).waitFor();
  expect(new URL(page.url()).pathname).toBe("/ui/schedules");
  await keyboard.activate(page.getByRole("button", { name: /^Signed in as user:ada <img/ }));
  await page.getByText("identity provider", { exact: true }).waitFor();
  await expectAccessible(page);
  await screenshots(page, "session");
});

test("session of the identity provider is renewed in a window, and the page keeps what was entered", async () => {
  Object.assign(issuer, { subject: "ada", groups: ["viewers"] });
  const page = await fixture.open("/workflows");
  await page.getByRole("button", { name: "Sign in with the identity provider" }).click();
  await page.getByRole("link", { name: "Allow" }).click();
  await page.getByRole("navigation").waitFor();
  await page.getByRole("textbox", { name: "Filter", exact: true }).fill("definition = stuck");
  await page.context().clearCookies();
  await page.keyboard.press("Enter");
  const again = page.getByRole("dialog", { name: "Sign in again" });
  await again.waitFor();
  await expectAccessible(page);
  await screenshots(page, "sign-in-again");
  await page.setViewportSize({ width: 1440, height: 900 });
  const opened = page.waitForEvent("popup");
  await again.getByRole("button", { name: "Sign in with the identity provider" }).click();
  await (await opened).getByRole("link", { name: "Allow" }).click();
  await again.waitFor({ state: "detached" });
  await page.getByText("2 rows").waitFor();
  expect(page.url()).toContain("definition");
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
  await page.getByLabel("Purpose").fill(`orders backend ${XSS}`);
  await page.getByLabel("operator").check();
  await page.getByRole("dialog").getByRole("button", { name: "Create a key" }).click();
  await page.getByText(/^gck_/).waitFor();
  await expectAccessible(page);
  await page.getByRole("button", { name: "I have stored it" }).click();
  expect(await page.getByText(/^gck_/).count()).toBe(0);
  await page.getByRole("row", { name: /<img src=x/ }).first().waitFor();
  for (const theme of ["light", "dark"] as const) {
    await page.emulateMedia({ colorScheme: theme });
    await expectAccessible(page);
    await screenshots(page, "access-keys", theme);
  }
  await page.setViewportSize({ width: 1440, height: 900 });
  await page.getByRole("row", { name: /orders backend/ }).getByRole("button", { name: "Revoke" }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Revoke" }).click();
  await page.getByRole("row", { name: /orders backend.*Revoked/ }).waitFor();
});
