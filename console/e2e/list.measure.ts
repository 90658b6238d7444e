// How long the browser works for a list of 100,000 workflows, and how much memory a page needs that stays open. Needs a machine
// that does nothing else: not part of `npm run e2e`. CONSOLE_HOUR=1 takes the hour; by default its changes arrive in six minutes.
import { createServer, request as forward, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { afterAll, expect, test } from "vitest";
import { allowedHosts, startConsole } from "./fixture";
import { tasks, usedHeap } from "./trace";

const ROWS = 100_000;
const PAGE = 200;
const CHANGES = 100 * 3_600;
const PER_SECOND = process.env["CONSOLE_HOUR"] ? 100 : 1_000;
const MOST_GROWTH = 20 * 2 ** 20;

let server: Server | undefined;
const fixture = startConsole(async (conductor) => {
  for (let i = 0; i < 20; i += 1) await conductor.order(`o-${i}`);
});
afterAll(() => void server?.close());

const row = (index: number) => {
  const id = `0192f3c4-0000-7000-8000-${String(index).padStart(12, "0")}`;
  const time = new Date(1_790_000_000_000 - index * 1_000).toISOString();
  return {
    id, definition: "order-processing", version: 1, status: index % 7 === 0 ? "ROLLED_BACK" : "COMPLETED", labels: { team: `team-${index % 10}` }, seq: 10, cause: null, error: null,
    idempotency_key: `order-${index}`, parent: null, paused: false, created_at: time, updated_at: time, ended_at: time,
  };
};

test("a list of 100,000 workflows scrolls without a long task", async () => {
  const page = await fixture.open("/");
  await page.route("**/api/v1/workflows?*", (route) => {
    const from = Number(new URL(route.request().url()).searchParams.get("page_token") ?? 0);
    const workflows = Array.from({ length: Math.min(PAGE, ROWS - from) }, (_, index) => row(from + index));
    return route.fulfill({ json: { workflows, next_page_token: from + PAGE < ROWS ? String(from + PAGE) : "" } });
  });
  await page.goto(`${fixture.url}/workflows`);
  await page.getByText(`${PAGE} rows`).waitFor();
  const [longest = 0] = await tasks(page, async () => {
    // Each jump to the end loads the next rows.
    await page.evaluate(async (rows) => {
      const list = document.querySelector<HTMLElement>(".table-scroll");
      const grid = list?.querySelector("[role=grid]");
      while (list && Number(grid?.getAttribute("aria-rowcount")) <= rows) {
        list.scrollTop = list.scrollHeight;
        await new Promise((resolve) => requestAnimationFrame(resolve));
      }
      for (let i = 0; list && i < 100; i += 1) {
        list.scrollTop = i % 10 === 9 ? Math.random() * list.scrollHeight : list.scrollTop - 1_200;
        await new Promise((resolve) => requestAnimationFrame(resolve));
      }
    }, ROWS);
  });
  await page.getByText("100,000 rows").waitFor();
  expect(longest).toBeGreaterThan(0);
  expect(longest).toBeLessThan(100);
}, 1_200_000);

/** A server that adds changes to the watch stream of the real one, and forwards everything else. */
async function busy(change: (index: number) => unknown): Promise<{ url: string; sent: () => number }> {
  let sent = 0;
  const stream = (response: ServerResponse) => {
    response.writeHead(200, { "content-type": "text/event-stream" });
    const timer = setInterval(() => {
      for (let i = 0; i < PER_SECOND / 20 && sent < CHANGES; i += 1, sent += 1) response.write(`event: workflow\ndata: ${JSON.stringify(change(sent))}\n\n`);
      response.write(": \n\n");
    }, 50);
    response.once("close", () => clearInterval(timer));
  };
  server = createServer((request, response) => {
    if (request.url?.startsWith("/api/v1/watch")) return stream(response);
    const target = forward(`${fixture.conductor.url}${request.url ?? "/"}`, { method: request.method, headers: request.headers }, (answer) => {
      response.writeHead(answer.statusCode ?? 502, answer.headers);
      answer.pipe(response);
    });
    request.pipe(target);
  });
  await new Promise<void>((resolve) => server?.listen(0, "127.0.0.1", resolve));
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, sent: () => sent };
}

test("a page that is open for an hour under 100 changes a second does not grow", async () => {
  const { workflows } = await fixture.conductor.call<{ workflows: { seq: number }[] }>("GET", "/workflows?page_size=20");
  // Nine of ten changes are of rows that the page shows, the others of new workflows.
  const proxy = await busy((index) => (index % 10 === 0 ? { ...row(index), created_at: new Date().toISOString() } : { ...workflows[index % workflows.length], seq: 1_000 + index }));
  allowedHosts.push(proxy.url);
  const page = await fixture.open("/");
  await page.goto(`${proxy.url}/ui/workflows`);
  await page.getByText("20 rows").waitFor();
  await expect.poll(proxy.sent).toBeGreaterThan(CHANGES / 20);
  const before = await usedHeap(page);
  await expect.poll(proxy.sent, { timeout: 4_000_000, interval: 1_000 }).toBe(CHANGES);
  await page.waitForTimeout(5_000);
  const growth = (await usedHeap(page)) - before;
  expect(growth).toBeLessThan(MOST_GROWTH);
}, 4_500_000);
