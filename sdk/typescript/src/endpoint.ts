import type { ChannelOptions } from "@grpc/grpc-js";

import { misuse } from "./errors.js";

/** The maximum size of a message in bytes. It exceeds every limit of the server. */
export const maxMessageBytes = 64 << 20;

/** The address of a gateway or of an executor. */
export interface Endpoint {
  host: string;
  /** The host and the port. */
  target: string;
  secure: boolean;
}

/** Parses a URL such as http://127.0.0.1:8470. */
export function parseEndpoint(text: string): Endpoint {
  let url: URL;
  try {
    url = new URL(text);
  } catch (cause) {
    throw misuse(`${JSON.stringify(text)} is not an address: use a URL such as http://127.0.0.1:8470`, cause);
  }
  const secure = url.protocol === "https:";
  if (url.hostname === "" || (!secure && url.protocol !== "http:")) {
    throw misuse(`${JSON.stringify(text)} is not an address: use a URL such as http://127.0.0.1:8470`);
  }
  if (url.username !== "" || url.password !== "" || url.search !== "" || url.pathname !== "/") {
    throw misuse(`the address of ${url.host} must have no credentials, no path and no query`);
  }
  const port = url.port === "" ? (secure ? "443" : "80") : url.port;
  return { host: url.hostname.replace(/^\[|\]$/g, ""), target: `${url.hostname}:${port}`, secure };
}

/** Returns the options of a channel to an endpoint. */
export function channelOptions(endpoint: Endpoint, keepAliveMs: number, keepAliveTimeoutMs: number): ChannelOptions {
  const options: ChannelOptions = {
    "grpc.max_receive_message_length": maxMessageBytes,
    "grpc.max_send_message_length": maxMessageBytes,
    "grpc.keepalive_time_ms": keepAliveMs,
    "grpc.keepalive_timeout_ms": keepAliveTimeoutMs,
    "grpc.initial_reconnect_backoff_ms": 100,
    "grpc.max_reconnect_backoff_ms": 5000,
    // Each connection of a worker reads the files of TLS again.
    "grpc.use_local_subchannel_pool": 1,
  };
  if (["localhost", "127.0.0.1", "::1"].includes(endpoint.host)) {
    // A proxy of the environment does not reach this machine.
    options["grpc.enable_http_proxy"] = 0;
  }
  return options;
}
