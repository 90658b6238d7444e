// A real `goconductor dev --demo`, and the built console in front of it.
import { spawn, type ChildProcess } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createServer, request as forward, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { createServer as createSocket, type AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { extname, join } from "node:path";

const READY_WITHIN_MS = 60_000;
const DIST = new URL("../dist", import.meta.url).pathname;
const TYPES: Record<string, string> = {
  ".html": "text/html; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8", ".svg": "image/svg+xml",
};
/** The policy of the gateway. */
export const CSP = "default-src 'self'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'";
const SERVER_PATHS = /^\/(api|auth|errors|docs|schema)\/|^\/(version|openapi\.json|healthz|readyz|metrics)$/;

export function binary(): string {
  const home = process.env["GOCONDUCTOR_CACHE"] ?? join(process.env["XDG_CACHE_HOME"] ?? join(process.env["HOME"] ?? "/tmp", ".cache"), "goconductor");
  const path = process.env["GOCONDUCTOR_BINARY"] ?? join(process.env["CARGO_TARGET_DIR"] ?? join(home, "target"), "debug", "goconductor");
  if (!existsSync(path)) throw new Error(`${path} not found; build it with cargo build -p goconductor-cli, or set GOCONDUCTOR_BINARY`);
  return path;
}

export async function freePort(): Promise<number> {
  const socket = createSocket();
  await new Promise<void>((resolve) => socket.listen(0, "127.0.0.1", resolve));
  const { port } = socket.address() as AddressInfo;
  await new Promise((resolve) => socket.close(resolve));
  return port;
}

/** The server under test. `kill` and `start` again simulate an outage: port and data stay. */
export class Conductor {
  private process: ChildProcess | undefined;
  /** The access key of `call`. */
  token = "";
  private constructor(readonly port: number, readonly dir: string, private readonly args: readonly string[]) {}

  static async start(...args: string[]): Promise<Conductor> {
    const conductor = new Conductor(await freePort(), mkdtempSync(join(tmpdir(), "goconductor-e2e-")), args.length > 0 ? args : ["--demo"]);
    await conductor.start();
    return conductor;
  }
  get url(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  async start(): Promise<void> {
    const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith("GOCONDUCTOR_")));
    this.process = spawn(binary(), ["dev", ...this.args, "--listen", `127.0.0.1:${this.port}`, "--data-dir", this.dir], { env, stdio: "ignore" });
    const end = Date.now() + READY_WITHIN_MS;
    while (!(await fetch(`${this.url}/readyz`).then((response) => response.ok, () => false))) {
      if (Date.now() > end || this.process.exitCode !== null) throw new Error("goconductor dev did not become ready");
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }
  async kill(signal: NodeJS.Signals = "SIGKILL"): Promise<void> {
    const child = this.process;
    this.process = undefined;
    if (!child || child.exitCode !== null) return;
    const ended = new Promise((resolve) => child.once("exit", resolve));
    child.kill(signal);
    await ended;
  }
  async stop(): Promise<void> {
    await this.kill("SIGTERM");
    rmSync(this.dir, { recursive: true, force: true });
  }

  async call<T>(method: string, path: string, body?: unknown): Promise<T> {
    const response = await fetch(`${this.url}/api/v1${path}`, {
      method, headers: { "content-type": "application/json", ...(this.token !== "" && { authorization: `Bearer ${this.token}` }) }, ...(body !== undefined && { body: JSON.stringify(body) }),
    });
    if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${await response.text()}`);
    return (response.status === 204 ? undefined : await response.json()) as T;
  }
  /** Starts an order of the demo and returns its id. The SKU `sold-out` makes it roll back. */
  async order(orderId: string, sku = "book", labels: Record<string, string> = {}): Promise<string> {
    const input = { order_id: orderId, amount: 42, items: [{ sku, quantity: 1 }] };
    return (await this.call<{ id: string }>("POST", "/workflows", { definition: "order-processing", input, labels })).id;
  }
}

/** Serves dist with the gateway's policy, and forwards the rest to the server. */
export async function serveConsole(conductor: Conductor): Promise<{ url: string; close: () => Promise<void> }> {
  if (!existsSync(join(DIST, "index.html"))) throw new Error("console/dist not found; run npm run build first");
  const server: Server = createServer((request, response) => {
    const path = new URL(request.url ?? "/", "http://host").pathname;
    if (SERVER_PATHS.test(path)) proxy(conductor, request, response);
    else file(path, response);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    close: () => new Promise((resolve) => {
      server.closeAllConnections();
      server.close(() => resolve());
    }),
  };
}

function file(path: string, response: ServerResponse): void {
  const asset = path.startsWith("/ui/assets/") ? join(DIST, path.replaceAll("..", "").slice("/ui".length)) : join(DIST, "index.html");
  if (!existsSync(asset) || (path !== "/" && !/^\/ui(\/|$)/.test(path))) {
    response.writeHead(404).end();
    return;
  }
  response.writeHead(200, { "content-type": TYPES[extname(asset)] ?? "application/octet-stream", "content-security-policy": CSP });
  response.end(readFileSync(asset));
}

function proxy(conductor: Conductor, request: IncomingMessage, response: ServerResponse): void {
  const headers = { ...request.headers, host: `127.0.0.1:${conductor.port}` };
  // The server compares the origin with its own address.
  delete headers.origin;
  const out = forward({ host: "127.0.0.1", port: conductor.port, method: request.method, path: request.url, headers }, (answer) => {
    response.writeHead(answer.statusCode ?? 502, answer.headers);
    // The headers of a stream arrive before its first message.
    response.flushHeaders();
    answer.pipe(response);
    answer.on("error", () => response.destroy());
  });
  out.on("error", () => (response.headersSent ? response.destroy() : response.writeHead(502).end()));
  response.on("close", () => out.destroy());
  request.pipe(out);
}
