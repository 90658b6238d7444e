import {
  type CallOptions as GrpcCallOptions, type ClientUnaryCall, type Metadata, type ServiceError,
} from "@grpc/grpc-js";

import type { Settings } from "./settings.js";
import { fromServiceError } from "./status.js";
import { onAbort } from "./time.js";

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

/** Calls a method with one response. Rejects with a {@link GoConductorError}. */
export async function unary<Request, Response>(
  calls: Calls, method: Method<Request, Response>, request: Request, options: CallOptions = {},
): Promise<Response> {
  options.signal?.throwIfAborted();
  const metadata = await calls.metadata();
  return await new Promise((resolve, reject) => {
    const deadline = Date.now() + (options.timeoutMs ?? calls.callTimeoutMs);
    const call = method(request, metadata, { deadline }, (error, response) => {
      stop();
      if (error === null) {
        resolve(response);
      } else {
        reject(options.signal?.aborted === true ? options.signal.reason as Error : fromServiceError(error));
      }
    });
    const stop = onAbort(options.signal, () => { call.cancel(); });
  });
}
