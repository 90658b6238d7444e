import {
  type CallOptions as GrpcCallOptions, type ClientUnaryCall, type Metadata, type ServiceError,
} from "@grpc/grpc-js";

import { GoConductorError } from "./errors.js";
import type { Settings } from "./settings.js";
import { fromServiceError } from "./status.js";
import { now, onAbort, within } from "./time.js";

/** The options of a call. */
export interface CallOptions {
  /** The timeout of the call (default: that of the client). */
  timeoutMs?: number;
  /** Ends the call. The promise rejects with the reason of the signal. */
  signal?: AbortSignal | undefined;
}

/** The settings of calls. */
export type Calls = Pick<Settings, "metadata" | "callTimeoutMs">;

type Method<Request, Response> = (
  request: Request,
  metadata: Metadata,
  options: Partial<GrpcCallOptions>,
  callback: (error: ServiceError | null, response: Response) => void,
) => ClientUnaryCall;

/** Returns the metadata of a call. The function that returns the token may fail, or not return. */
export async function metadataWithin(
  timeoutMs: number, calls: Pick<Settings, "metadata">, signal: AbortSignal | undefined,
): Promise<Metadata> {
  const metadata = await within(timeoutMs, calls.metadata(), signal);
  if (metadata === undefined) {
    signal?.throwIfAborted();
    throw new GoConductorError("timeout", `the function of the token returned none within ${timeoutMs} ms`, { retryable: true });
  }
  return metadata.value;
}

/** Calls a method with one response. Rejects with a {@link GoConductorError}. */
export async function unary<Request, Response>(
  calls: Calls, method: Method<Request, Response>, request: Request, options: CallOptions = {},
): Promise<Response> {
  options.signal?.throwIfAborted();
  const timeoutMs = options.timeoutMs ?? calls.callTimeoutMs;
  const began = now();
  const metadata = await metadataWithin(timeoutMs, calls, options.signal);
  let stop = (): void => undefined;
  try {
    return await new Promise((resolve, reject) => {
      const deadline = Date.now() + timeoutMs - (now() - began);
      const call = method(request, metadata, { deadline }, (error, response) => {
        if (error === null) {
          resolve(response);
        } else {
          reject(error);
        }
      });
      stop = onAbort(options.signal, () => { call.cancel(); });
    });
  } catch (error) {
    options.signal?.throwIfAborted();
    throw fromServiceError(error);
  } finally {
    stop();
  }
}
