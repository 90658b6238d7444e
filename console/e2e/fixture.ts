// Shared parts of the tests of pages: a server, a browser, accessibility checks and screenshots.
import { existsSync, mkdirSync, readFileSync } from "node:fs";
import { extname, join } from "node:path";
import { createRequire } from "node:module";
import { chromium, type Browser, type BrowserContext, type Page } from "playwright-core";
import { afterAll, beforeAll, expect, onTestFailed } from "vitest";
import type { Conductor, Options } from "./server";
import { startConductor } from "./target";

const SCREENS = new URL("./screens/", import.meta.url).pathname;
export const WIDTHS = [1440, 1024, 320] as const;
const HEIGHTS: Record<number, number> = { 1440: 900, 1024: 768, 320: 640 };
const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"];

export interface Fixture {
  conductor: Conductor;
  browser: Browser;
  /** The address of the console: the host and `/ui`. */
  url: string;
  /** Opens the page at a path below `/ui`, and fails the test at its end for console errors, CSP reports and requests to other hosts. */
  open: (path: string, options?: OpenOptions) => Promise<Page>;
}

export interface OpenOptions {
  theme?: "light" | "dark";
  width?: number;
  /** Fails the test if a pointer is used. */
  keyboardOnly?: boolean;
}

/** Starts everything once for a test file. `seed` fills the server. */
export function startConsole(seed?: (conductor: Conductor) => Promise<void>, options: Options | (() => Promise<Options>) = {}): Fixture {
  const fixture = {} as Fixture;
  const contexts: BrowserContext[] = [];
  beforeAll(async () => {
    fixture.conductor = await startConductor(typeof options === "function" ? await options() : options);
    await seed?.(fixture.conductor);
    fixture.url = `${fixture.conductor.url}/ui`;
    fixture.browser = await chromium.launch({ executablePath: chromiumPath(), args: ["--no-sandbox", "--disable-gpu"] });
    fixture.open = async (path, { theme = "light", width = 1440, keyboardOnly = false } = {}) => {
      const context = await fixture.browser.newContext({
        viewport: { width, height: HEIGHTS[width] ?? 900 }, colorScheme: theme, reducedMotion: "reduce", permissions: ["clipboard-read", "clipboard-write"],
      });
      context.setDefaultTimeout(Number(process.env["CONSOLE_E2E_TIMEOUT"] ?? 60_000));
      contexts.push(context);
      watchForViolations(context, fixture.conductor.url);
      await serveBuilt(context, fixture.url);
      if (keyboardOnly) await context.addInitScript(refusePointers);
      const page = await context.newPage();
      onTestFailed(async ({ task }) => {
        if (page.isClosed()) return;
        mkdirSync(SCREENS, { recursive: true });
        await page.screenshot({ path: join(SCREENS, `failed-${task.name.replaceAll(/\W+/g, "-")}.png`) });
      });
      await page.goto(`${fixture.url}${path}`);
      return page;
    };
  });
  afterAll(async () => {
    await fixture.browser?.close();
    await fixture.conductor?.stop();
    expect(violations.splice(0)).toEqual([]);
  });
  return fixture;
}

const violations: string[] = [];
function watchForViolations(context: BrowserContext, url: string): void {
  context.on("request", (request) => {
    const allowed = [url, ...allowedHosts].some((each) => request.url().startsWith(`${each}/`));
    if (!allowed && !/^(?:data|blob):/.test(request.url())) violations.push(`request to ${request.url()}`);
  });
  context.on("weberror", (error) => violations.push(`page error: ${error.error().message}`));
  context.on("dialog", (dialog) => {
    violations.push(`script ran: ${dialog.message()}`);
    void dialog.dismiss();
  });
  context.on("console", (message) => {
    if (/Content.Security.Policy/i.test(message.text())) violations.push(message.text());
  });
}

/** Other hosts that a test visits, such as the issuer of a sign-in. */
export const allowedHosts: string[] = [];

/** Runs in the page. */
function refusePointers(): void {
  window.addEventListener("pointerdown", () => {
    throw new Error("a pointer was used");
  }, true);
}

const DIST = new URL("../dist/", import.meta.url).pathname;
const TYPES: Record<string, string> = { ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml", ".html": "text/html" };

/**
 * Serves the built console with the headers of the server, if the server was compiled with another one. A page that a
 * redirect leads to comes from the server in any case.
 */
async function serveBuilt(context: BrowserContext, url: string): Promise<void> {
  const index = join(DIST, "index.html");
  const served = await fetch(`${url}/`);
  if (!existsSync(index) || (await served.text()) === readFileSync(index, "utf8")) return;
  const kept = [...served.headers].filter(([name]) => /^(?:content-security-policy|x-|referrer-|cross-origin-|permissions-)/.test(name));
  await context.route(`${url}/**`, (route) => {
    const path = new URL(route.request().url()).pathname.replace(/^\/ui\//, "");
    const file = path.startsWith("assets/") ? join(DIST, path) : index;
    return existsSync(file) ? route.fulfill({ path: file, headers: { ...Object.fromEntries(kept), "content-type": TYPES[extname(file)] ?? "application/octet-stream" } }) : route.continue();
  });
}

function chromiumPath(): string {
  const path = process.env["CHROMIUM"] ?? "/usr/bin/chromium";
  if (!existsSync(path)) throw new Error(`${path} not found; install the package chromium, or set CHROMIUM`);
  return path;
}

/** Waits until the page shows its content: a heading, and nothing that is loading. */
export async function settled(page: Page): Promise<void> {
  await page.getByRole("heading", { level: 1 }).waitFor();
  await page.waitForFunction(() => document.querySelector("main .skeleton") === null);
}

/** Checks WCAG 2.2 A and AA. Assert first that the page shows its content. */
export async function expectAccessible(page: Page): Promise<void> {
  await page.evaluate(axe);
  const found = await page.evaluate(async (tags) => {
    const { axe: runner } = window as unknown as { axe: { run: (context: unknown, options: unknown) => Promise<{ violations: { id: string; nodes: { html: string; failureSummary: string }[] }[] }> } };
    const result = await runner.run(document, { runOnly: { type: "tag", values: tags } });
    return result.violations.map((each) => `${each.id}: ${each.nodes.slice(0, 3).map((node) => `${node.html} ${node.failureSummary}`).join(" | ")}`);
  }, TAGS);
  expect(found).toEqual([]);
}

/** Runs in the page. The elements that make it scroll sideways. */
function beyondTheEdge(): string[] {
  if (document.documentElement.scrollWidth <= window.innerWidth) return [];
  const clipped = (element: Element) => {
    for (let parent = element.parentElement; parent && parent !== document.body; parent = parent.parentElement) {
      if (getComputedStyle(parent).overflowX !== "visible") return true;
    }
    return false;
  };
  const wide = [...document.querySelectorAll("main *")].filter((each) => each.getBoundingClientRect().right > window.innerWidth && !clipped(each));
  return ["the page scrolls sideways", ...wide.map((each) => `${each.tagName.toLowerCase()}.${each.className}`)];
}

/** Takes a screenshot at each width, in e2e/screens/NAME-WIDTH-THEME.png. No page scrolls sideways. */
export async function screenshots(page: Page, name: string, theme = "light"): Promise<void> {
  mkdirSync(SCREENS, { recursive: true });
  for (const width of WIDTHS) {
    await page.setViewportSize({ width, height: HEIGHTS[width] ?? 900 });
    await page.waitForTimeout(300);
    await page.screenshot({ path: join(SCREENS, `${name}-${width}-${theme}.png`) });
    expect(await page.evaluate(beyondTheEdge), `${name} at ${width}`).toEqual([]);
  }
}
