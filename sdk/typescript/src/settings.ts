import { type Interceptor as GrpcInterceptor, Metadata } from "@grpc/grpc-js";

import type { Logger } from "./logger.js";
import type { Interceptor } from "./service.js";
import type { TlsFiles } from "./tls.js";

/** The settings of a client, with their defaults. */
export interface Settings {
  readonly namespace: string;
  readonly token: (() => string | Promise<string>) | undefined;
  readonly tls: TlsFiles;
  readonly executors: readonly string[];
  readonly logger: Logger;
  readonly interceptors: readonly Interceptor[];
  readonly grpcInterceptors: readonly GrpcInterceptor[];
  readonly callTimeoutMs: number;
  /** Returns the metadata of a call: the namespace and the token. */
  metadata(): Promise<Metadata>;
}

/** Returns the metadata of a call. */
export async function metadataOf(namespace: string, token: Settings["token"]): Promise<Metadata> {
  const metadata = new Metadata();
  metadata.set("goconductor-namespace", namespace);
  if (token !== undefined) {
    metadata.set("authorization", `Bearer ${await token()}`);
  }
  return metadata;
}
