// The whole system as processes, over PostgreSQL and NATS: two gateways, two executors, a state store and an elector.
import { execFile, execFileSync, type ChildProcess } from "node:child_process";
import { chmodSync, existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { promisify } from "node:util";
import { startDemo, type Participant } from "./participant";
import { binary, cacheFolder, cleanEnvironment, Conductor, end, freePort, launch, newFolder, ROOT, type Options, type Queue, type StoredLetter } from "./server";

const KINDS = [["state-store", 1], ["leader-elector", 1], ["saga-executor", 2], ["api-gateway", 2]] as const;
type Kind = (typeof KINDS)[number][0];

const SCRIPTS = { postgres: "DATABASE_URL", nats: "NATS_SERVERS", kafka: "KAFKA_BROKERS" } as const;

interface Member {
  kind: Kind;
  port: number;
  process?: ChildProcess;
}

export class Processes extends Conductor {
  readonly survives = true;
  private database = "";
  private participant: Participant | undefined;
  private constructor(dir: string, options: Options, private readonly members: readonly Member[], private readonly page: Member) {
    super(page.port, dir, options);
  }

  static async start(options: Options = {}): Promise<Processes> {
    const members = KINDS.flatMap(([kind, count]) => Array.from({ length: count }, (): Member => ({ kind, port: freePort() })));
    const page = members.find((each) => each.kind === "api-gateway");
    if (!page) throw new Error("no gateway");
    const system = new Processes(newFolder(), options, members, page);
    try {
      await system.begin();
    } catch (error) {
      await system.stop();
      throw error;
    }
    return system;
  }

  /** Another gateway than that of the page, so that the API responds while the page has none. */
  override get api(): string {
    const other = this.members.find((each) => each.kind === "api-gateway" && each !== this.page) ?? this.page;
    return `http://127.0.0.1:${other.port}`;
  }

  private async begin(): Promise<void> {
    chmodSync(this.dir, 0o755); // the user of the database needs access to its files
    const queues: readonly Queue[] = ["nats", ...(this.options.moreQueues ?? [])];
    const [database, ...brokers] = await Promise.all([this.service("postgres"), ...queues.map((queue) => this.service(queue))]);
    this.database = database;
    writeFileSync(join(this.dir, "cluster.yaml"), this.configuration(queues, brokers), { mode: 0o600 });
    await Promise.all(this.members.map((member) => this.launch(member)));
    this.participant = await startDemo();
    for (const service of ["payments", "inventory"]) {
      await this.call("PUT", `/services/${service}`, { http: { url: `${this.participant.url}/${service}` } });
    }
    await this.apply("order-processing", readFileSync(join(ROOT, "examples/order-processing.yaml"), "utf8"));
  }

  private configuration(queues: readonly Queue[], brokers: readonly string[]): string {
    const urls = (kind: Kind) => this.members.filter((each) => each.kind === kind).map((each) => `http://127.0.0.1:${each.port}`).join(", ");
    const sections = queues.map((queue, index) => (queue === "nats" ? `  nats: { servers: [${brokers[index]}] }` : `  brokers: [${brokers[index]}]`));
    return [
      "state_store:", "  backend: postgres", `  url: ${this.database}`, `  endpoints: [${urls("state-store")}]`,
      "queue:", "  backend: nats", ...sections,
      `election: { backend: postgres, electors: [${urls("leader-elector")}] }`,
      "executor:", "  outbound: { allow: [loopback] }", "",
    ].join("\n");
  }

  private async launch(member: Member): Promise<void> {
    const path = join(process.env["GOCONDUCTOR_BINARIES"] ?? dirname(binary()), member.kind);
    if (!existsSync(path)) throw new Error(`${path} not found; build it with cargo build --workspace --bins, or set GOCONDUCTOR_BINARIES`);
    member.process = await launch(path, ["--config", join(this.dir, "cluster.yaml"), "--listen", `127.0.0.1:${member.port}`, ...this.flags], member.port);
  }

  /** Starts a service of scripts/services, and returns its address. */
  private async service(name: keyof typeof SCRIPTS): Promise<string> {
    const { stdout } = await promisify(execFile)(join(ROOT, `scripts/services/${name}.sh`), ["up"], { env: this.environment() });
    const address = new RegExp(`export ${SCRIPTS[name]}='([^']+)'`).exec(stdout)?.[1];
    if (!address) throw new Error(`${name}.sh printed no ${SCRIPTS[name]}`);
    return address;
  }
  private environment(): Record<string, string> {
    return { ...cleanEnvironment(), GOCONDUCTOR_CACHE: cacheFolder(), GOCONDUCTOR_SERVICES: join(this.dir, "s") };
  }

  /** Starts the gateway of the page. */
  async start(): Promise<void> {
    await this.launch(this.page);
  }
  async kill(): Promise<void> {
    await end(this.page.process, "SIGKILL");
  }
  async stop(): Promise<void> {
    await Promise.all(this.members.map((each) => end(each.process, "SIGKILL")));
    await this.participant?.close();
    for (const name of Object.keys(SCRIPTS)) {
      if (existsSync(join(this.dir, "s", name))) execFileSync(join(ROOT, `scripts/services/${name}.sh`), ["wipe"], { env: this.environment(), stdio: "ignore" });
    }
    rmSync(this.dir, { recursive: true, force: true });
  }

  store(letters: readonly StoredLetter[]): void {
    for (const [index, each] of letters.entries()) {
      const values = { id: each.id, topic: each.topic, key: each.key, payload: each.payload, reason: each.reason, at: `${Date.now() * 1_000 - index}` };
      execFileSync("psql", [this.database, "-q", "-v", "ON_ERROR_STOP=1", ...Object.entries(values).flatMap(([name, value]) => ["-v", `${name}=${value}`])], {
        input: "INSERT INTO dead_letters (id, topic, message_key, payload, reason, at) VALUES (:'id', :'topic', :'key', convert_to(:'payload', 'UTF8'), :'reason', :'at');",
      });
    }
  }
}
