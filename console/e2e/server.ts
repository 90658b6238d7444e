// A real `goconductor dev --demo`, which serves the console.
import { spawn, type ChildProcess } from "node:child_process";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { createServer as createSocket, type AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

const READY_WITHIN_MS = 60_000;

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
