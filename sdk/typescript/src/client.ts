import { Channel, ChannelCredentials, type Interceptor as GrpcInterceptor, type Client as GrpcClient } from "@grpc/grpc-js";

import { type CallOptions, unary } from "./calls.js";
import { channelOptions, type Endpoint, parseEndpoint } from "./endpoint.js";
import { GoConductorError, misuse } from "./errors.js";
import { DefinitionFormat, DefinitionServiceClient } from "./generated/goconductor/v1/definition.js";
import { ScheduleServiceClient } from "./generated/goconductor/v1/schedule.js";
import { ServiceServiceClient } from "./generated/goconductor/v1/service.js";
import { WorkflowServiceClient } from "./generated/goconductor/v1/workflow.js";
import { Handle, type HandleOwner, present, toJson } from "./handle.js";
import { type Logger, stderrLogger } from "./logger.js";
import { Schedules } from "./schedule.js";
import type { Interceptor, Service } from "./service.js";
import { metadataOf, type Settings } from "./settings.js";
import { now, onAbort, sleep } from "./time.js";
import { channelCredentials, type TlsFiles } from "./tls.js";
import { type Description, descriptionOf } from "./view.js";
import { Worker, type WorkerOwner } from "./worker.js";
import { definitionName, definitionOf, serviceOf, type Workflow } from "./workflow.js";

/** The address of a gateway on this machine. */
export const defaultAddress = "http://127.0.0.1:8470";

const defaultNamespace = "default";
const defaultCallTimeoutMs = 30_000;
/** The interval of pings while a call is in flight, and the timeout of a ping. */
const keepAliveMs = 30_000;
const keepAliveTimeoutMs = 10_000;
/** The limit of the retries of a start while the gateway is overloaded. */
const startTimeoutMs = 60_000;
/** The delay of a retry if the gateway sets none. */
const overloadDelayMs = 1000;

/** The options of a {@link Client}. */
export interface ClientOptions {
  /** The namespace (default: "default"). */
  namespace?: string | undefined;
  /**
   * An access key, or a token of the identity provider, for each call and for the stream of each worker. A function is
   * called for each of them, for tokens that expire. It must be fast.
   */
  token?: string | (() => string | Promise<string>) | undefined;
  /** The files of TLS, for a gateway whose URL has the scheme https. Executors are connected with the same files. */
  tls?: TlsFiles | undefined;
  /** The executors that workers connect to, such as http://127.0.0.1:8472 (default: those that the gateway lists). */
  executors?: readonly string[];
  /** The logger (default: {@link stderrLogger}). */
  logger?: Logger;
  /** Interceptors around the actions of all services, outside those of the service. */
  interceptors?: readonly Interceptor[];
  /** Interceptors of the calls to the gateway. */
  grpcInterceptors?: readonly GrpcInterceptor[];
  /** The timeout of calls that set none (default: 30 seconds). It does not limit {@link Handle.result} and {@link Handle.watch}. */
  callTimeoutMs?: number;
}

/** The options of a start. */
export interface StartOptions extends CallOptions {
  /** The input of the workflow, which is converted to JSON (default: {}). */
  input?: unknown;
  /**
   * An idempotency key that is unique in the namespace. A repeated start returns the existing workflow, so that a start can
   * be retried if its response was lost.
   */
  key?: string;
  /** Labels to find the workflow by. */
  labels?: Readonly<Record<string, string>>;
  /** A version of the definition (default: the newest). */
  version?: number;
}

/** The options of {@link Client.list}. */
export interface ListOptions extends CallOptions {
  /** A filter, such as `status = ERROR AND created_at > "-24h"`. */
  filter?: string;
  /** The number of workflows that one call returns, from 1 to 1000. */
  pageSize?: number;
}

/** A part of a definition that was accepted and is probably a mistake. */
export interface Warning {
  /** The stable code. */
  code: string;
  /** A JSON pointer into the definition. */
  pointer: string;
  /** The line and the column, counted from 1. */
  line: number;
  column: number;
  /** The problem and its correction. */
  detail: string;
}

/** The result of applying a definition. */
export interface Applied {
  /** The name of the definition. */
  name: string;
  /** Its newest version, from 1. */
  version: number;
  /** Equal for definitions with equal content. */
  digest: string;
  /** Whether the call created the version. */
  created: boolean;
  /** Parts of the definition that are probably mistakes. */
  warnings: readonly Warning[];
}

/** The clients of the gateway, which share a connection. */
interface Clients {
  workflows: WorkflowServiceClient;
  definitions: DefinitionServiceClient;
  services: ServiceServiceClient;
  schedules: ScheduleServiceClient;
}

/** A client of GoConductor: it starts workflows and connects services. */
export class Client {
  /** The schedules of the namespace. */
  readonly schedules: Schedules;

  readonly #settings: Settings;
  readonly #gateway: Endpoint;
  readonly #channel: Channel;
  readonly #clients: Clients;
  /** The workers of workflows whose steps are functions, by service. */
  readonly #workers = new Map<string, Worker>();
  #closed = false;

  /**
   * Returns a client of the gateway at a URL such as http://127.0.0.1:8470. It sends no request. Throws an error of the kind
   * `misuse` if the URL or an option is invalid.
   */
  constructor(address: string, options: ClientOptions = {}) {
    this.#gateway = parseEndpoint(address);
    this.#settings = settingsOf(options);
    if (options.tls !== undefined && !this.#gateway.secure) {
      throw misuse(`the files of TLS have no effect for ${address}: use the scheme https`);
    }
    for (const executor of this.#settings.executors) {
      if (parseEndpoint(executor).secure !== this.#gateway.secure) {
        throw misuse(`the address ${executor} of an executor must have the scheme of the gateway, ${address}`);
      }
    }
    // Without pings, a stream of events would not notice that the machine of the gateway is gone.
    const credentials = channelCredentials(this.#gateway, this.#settings.tls, "api-gateway");
    const grpcOptions = channelOptions(this.#gateway, keepAliveMs, keepAliveTimeoutMs);
    this.#channel = new Channel(this.#gateway.target, credentials, grpcOptions);
    this.#clients = {
      workflows: this.grpc(WorkflowServiceClient),
      definitions: this.grpc(DefinitionServiceClient),
      services: this.grpc(ServiceServiceClient),
      schedules: this.grpc(ScheduleServiceClient),
    };
    this.schedules = new Schedules(this.#settings, this.#clients.schedules);
  }

  /**
   * Returns a client with the settings of the command line: GOCONDUCTOR_SERVER (default: {@link defaultAddress}),
   * GOCONDUCTOR_NAMESPACE, GOCONDUCTOR_TOKEN, and GOCONDUCTOR_CA, GOCONDUCTOR_CERT and GOCONDUCTOR_KEY. Further options take
   * precedence.
   */
  static fromEnvironment(options: ClientOptions = {}): Client {
    const variable = (name: string): string | undefined => process.env[`GOCONDUCTOR_${name}`] || undefined;
    const files: TlsFiles = {};
    for (const [field, name] of [["ca", "CA"], ["certificate", "CERT"], ["key", "KEY"]] as const) {
      const file = variable(name);
      if (file !== undefined) {
        files[field] = file;
      }
    }
    return new Client(variable("SERVER") ?? defaultAddress, {
      namespace: variable("NAMESPACE"),
      token: variable("TOKEN"),
      tls: Object.keys(files).length === 0 ? undefined : files,
      ...options,
    });
  }

  /**
   * Returns a generated client of `@goconductor/sdk/proto` on the connection to the gateway, for calls that this type does
   * not offer. Pass {@link metadata} with each call.
   */
  grpc<Kind extends GrpcClient>(
    kind: new (address: string, credentials: ChannelCredentials, options: Record<string, unknown>) => Kind,
  ): Kind {
    return new kind(this.#gateway.target, ChannelCredentials.createInsecure(), {
      channelOverride: this.#channel,
      interceptors: [...this.#settings.grpcInterceptors],
    });
  }

  /** Returns the metadata of a call: the namespace and the token. */
  async metadata(): ReturnType<Settings["metadata"]> {
    return await this.#settings.metadata();
  }

  /** Returns a handle to the workflow with an id. It sends no request. */
  workflow(id: string): Handle {
    return new Handle(this.#handles(), id);
  }

  /**
   * Applies a definition in YAML or JSON. Equal content changes nothing, and changed content becomes the next version. Rejects
   * with an error of the kind `invalid`, with every problem, if the definition is invalid.
   */
  async apply(name: string, definition: string, options?: CallOptions): Promise<Applied> {
    return await this.#apply(name, definition, false, options);
  }

  /** Checks a definition without storing it. */
  async validate(name: string, definition: string, options?: CallOptions): Promise<Applied> {
    return await this.#apply(name, definition, true, options);
  }

  async #apply(name: string, source: string, dryRun: boolean, options: CallOptions | undefined): Promise<Applied> {
    const format = isJson(source) ? DefinitionFormat.DEFINITION_FORMAT_JSON : DefinitionFormat.DEFINITION_FORMAT_YAML;
    const { definitions } = this.#clients;
    const request = { name, format, source, dryRun };
    return await unary(this.#settings, definitions.applyDefinition.bind(definitions), request, options);
  }

  /**
   * Starts a workflow of an applied definition. While the gateway is overloaded, the start is retried after the delay that the
   * gateway requests, for up to a minute. A start whose response was lost may have taken effect: set a key to retry it.
   */
  async start(definition: string, options: StartOptions = {}): Promise<Handle> {
    const { workflows } = this.#clients;
    const request = {
      definition,
      version: options.version,
      inputJson: options.input === undefined ? "" : toJson("input", options.input),
      idempotencyKey: options.key ?? "",
      labels: { ...options.labels },
      wait: undefined,
    };
    const deadline = now() + startTimeoutMs;
    for (;;) {
      try {
        const response = await unary(this.#settings, workflows.startWorkflow.bind(workflows), request, options);
        return new Handle(this.#handles(), present(response.workflow).id, response.replayed);
      } catch (error) {
        if (!(error instanceof GoConductorError) || error.kind !== "overloaded") {
          throw error;
        }
        const delay = error.retryDelayMs > 0 ? error.retryDelayMs : overloadDelayMs;
        if (now() + delay > deadline || !await sleep(delay, options.signal)) {
          options.signal?.throwIfAborted();
          throw error;
        }
      }
    }
  }

  /**
   * Applies and starts a workflow whose steps are functions. The steps run in this program until the client is closed. The
   * functions are those of the first call with this name, so that they must get what differs between workflows from their
   * input, not from variables that they capture. Rejects with an error of the kind `misuse` if the workflow is incomplete, and
   * of the kind `no_executor` if no executor accepts the worker within 30 seconds.
   */
  async startWorkflow<Input>(workflow: Workflow<Input>, options: StartOptions & { input?: Input } = {}): Promise<Handle> {
    const name = definitionName(workflow);
    const applied = await this.apply(name, definitionOf(workflow), { signal: options.signal });
    const worker = this.#serveOnce(name, serviceOf(workflow));
    await worker.connected(options.signal === undefined ? {} : { signal: options.signal });
    return await this.start(name, { version: applied.version, ...options });
  }

  /** Returns the worker of a workflow, and starts it on the first call. */
  #serveOnce(name: string, service: Service): Worker {
    if (this.#closed) {
      throw misuse("the client is closed");
    }
    let worker = this.#workers.get(name);
    if (worker === undefined) {
      worker = this.serve(service);
      this.#workers.set(name, worker);
    } else if (worker.service.actions.join() !== service.actions.join()) {
      throw misuse(`the client already serves a workflow ${name} with other steps; use another name`);
    }
    return worker;
  }

  /**
   * Yields workflows, newest first, without their input, output and steps. It calls the gateway once for each page.
   */
  async *list(options: ListOptions = {}): AsyncGenerator<Description, void, undefined> {
    const { workflows } = this.#clients;
    for (let pageToken = "";;) {
      const request = { filter: options.filter ?? "", pageSize: options.pageSize ?? 0, pageToken };
      const page = await unary(this.#settings, workflows.listWorkflows.bind(workflows), request, options);
      for (const workflow of page.workflows) {
        yield descriptionOf(workflow);
      }
      pageToken = page.nextPageToken;
      if (pageToken === "") {
        return;
      }
    }
  }

  /**
   * Connects a service to the executors as a worker, until the worker is shut down or closed. Throws an error of the kind
   * `misuse` if the service has no actions or if a name is invalid.
   */
  serve(service: Service): Worker {
    return new Worker(this.#workerOwner(), service);
  }

  /**
   * Serves services until the signal is aborted or the process receives SIGTERM or SIGINT, and then finishes the tasks in
   * flight for up to 30 seconds. A second SIGTERM or SIGINT ends the process. Rejects with an `AggregateError` if tasks were left.
   */
  async run(services: readonly Service[], options: { signal?: AbortSignal } = {}): Promise<void> {
    for (const service of services) {
      service.check();
    }
    const workers = services.map((service) => this.serve(service));
    await new Promise<void>((resolve) => {
      const end = (): void => {
        process.off("SIGTERM", end).off("SIGINT", end);
        resolve();
      };
      process.on("SIGTERM", end).on("SIGINT", end);
      onAbort(options.signal, end);
    });
    const results = await Promise.allSettled(workers.map((worker) => worker.shutdown()));
    const failures = results.flatMap((result) => result.status === "rejected" ? [result.reason as Error] : []);
    if (failures.length > 0) {
      throw new AggregateError(failures, failures.map((failure) => failure.message).join("; "));
    }
  }

  /**
   * Ends the connection and disconnects the workers of {@link startWorkflow}. Their tasks in flight are retried. Shut the
   * workers of {@link serve} down first: without the connection they discover no executors.
   */
  async close(): Promise<void> {
    this.#closed = true;
    const workers = [...this.#workers.values()];
    this.#workers.clear();
    await Promise.all(workers.map((worker) => worker.close()));
    this.#channel.close();
  }

  #handles(): HandleOwner {
    return { calls: this.#settings, workflows: this.#clients.workflows };
  }

  #workerOwner(): WorkerOwner {
    return {
      settings: this.#settings,
      calls: this.#settings,
      services: this.#clients.services,
      scheme: this.#gateway.secure ? "https:" : "http:",
    };
  }
}

function settingsOf(options: ClientOptions): Settings {
  const namespace = options.namespace ?? defaultNamespace;
  const { token } = options;
  const source = typeof token === "string" ? () => token : token;
  return {
    namespace,
    token: source,
    tls: { ...options.tls },
    executors: [...options.executors ?? []],
    logger: options.logger ?? stderrLogger,
    interceptors: [...options.interceptors ?? []],
    grpcInterceptors: [...options.grpcInterceptors ?? []],
    callTimeoutMs: options.callTimeoutMs ?? defaultCallTimeoutMs,
    metadata: () => metadataOf(namespace, source),
  };
}

function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

let defaultClient: Client | undefined;

/**
 * Starts a workflow with a client of the environment, see {@link Client.fromEnvironment} and {@link Client.startWorkflow}. The
 * steps run in this program until {@link close} is called.
 */
export async function startWorkflow<Input>(
  workflow: Workflow<Input>, options: StartOptions & { input?: Input } = {},
): Promise<Handle> {
  defaultClient ??= Client.fromEnvironment();
  return await defaultClient.startWorkflow(workflow, options);
}

/** Closes the client of {@link startWorkflow}, so that the process can end. */
export async function close(): Promise<void> {
  const client = defaultClient;
  defaultClient = undefined;
  await client?.close();
}

