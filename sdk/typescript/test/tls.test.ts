import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { promisify } from "node:util";

import { Client, GoConductorError, Service, type TlsFiles } from "@goconductor/sdk";
import { type Server, startServer } from "@goconductor/sdk/testing";

void describe("TLS", () => {
  let folder: string;
  let server: Server;
  let files: TlsFiles;
  let url: string;

  before(async () => {
    folder = await mkdtemp(join(tmpdir(), "goconductor-"));
    const binary = process.env["GOCONDUCTOR_BINARY"] ?? "goconductor";
    await promisify(execFile)(binary, ["certs", "create", "--dir", folder]);
    const settings = { ca_file: "ca.crt", certificate_file: "dev.crt", key_file: "dev.key" };
    server = await startServer({
      arguments: Object.entries(settings).flatMap(([name, file]) => ["--set", `tls.${name}=${join(folder, file)}`]),
    });
    url = server.url.replace("http:", "https:");
    const names = await readdir(folder);
    assert.ok(names.includes("worker.crt"), names.join());
    files = { ca: join(folder, "ca.crt"), certificate: join(folder, "worker.crt"), key: join(folder, "worker.key") };
  });
  after(async () => {
    await server.stop();
    await rm(folder, { recursive: true });
  });

  void it("connects a client and a worker with certificates", async (t) => {
    const client = new Client(url, { tls: files });
    const worker = client.serve(new Service("shop").action("charge", () => "p-1"));
    t.after(async () => {
      await worker.close();
      await client.close();
    });
    await worker.connected();
    await client.apply("order", "workflow: order\nsteps: [ { name: charge, run: shop/charge, compensate: none } ]\n");
    const { status } = await (await client.start("order")).result({ signal: AbortSignal.timeout(30_000) });
    assert.equal(status, "COMPLETED");
  });

  void it("refuses a server of another authority", async (t) => {
    const client = new Client(url, { tls: {} });
    t.after(async () => { await client.close(); });
    const isUnreachable = (error: unknown): boolean => error instanceof GoConductorError && error.kind === "unreachable";
    await assert.rejects(client.workflow("w").describe({ timeoutMs: 5000 }), isUnreachable);
  });

  void it("reports files that cannot be used", async () => {
    const text = join(folder, "text");
    await writeFile(text, "no certificate");
    assert.throws(() => new Client(url, { tls: { ca: join(folder, "missing") } }), /failed to read .*missing/);
    assert.throws(() => new Client(url, { tls: { ca: text } }), /contains no certificate in PEM form/);
    assert.throws(() => new Client(url, { tls: { ...files, key: text } }), /failed to load the certificate/);
  });
});
