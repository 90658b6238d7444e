import createClient from "openapi-fetch";
import { parseExact } from "./json";
import { ApiError, problemOf, toApiError } from "./problem";
import type { paths } from "./schema";
import { currentNamespace, notifyUnauthorized } from "./session";

/** Fetches, and parses JSON with exact integers. openapi-fetch reads the body through the overridden methods. */
async function exactFetch(request: Request): Promise<Response> {
  const response = await fetch(request);
  if (response.status === 401) notifyUnauthorized();
  const type = response.headers.get("content-type") ?? "";
  if (response.status === 204 || !type.includes("json")) return response;
  const text = await response.text();
  const headers = new Headers(response.headers);
  headers.set("content-length", String(text.length));
  const copy = new Response(text, { status: response.status, statusText: response.statusText, headers });
  copy.json = () => Promise.resolve(text === "" ? undefined : parseExact(text));
  return copy;
}

/** The typed client of the REST API. Pass its promises to {@link data}. */
export const api = createClient<paths>({ baseUrl: typeof window === "undefined" ? "" : window.location.origin, fetch: exactFetch });

api.use({
  onRequest({ request }) {
    request.headers.set("GoConductor-Namespace", currentNamespace());
    // A change that is authenticated by the cookie must have this header, which no other site can send.
    if (request.method !== "GET") request.headers.set("GoConductor-Csrf", "1");
    return request;
  },
});

interface Result<T> {
  data?: T;
  error?: unknown;
  response: Response;
}

/** Returns the body of a successful response, and throws an {@link ApiError} for any other outcome. */
export async function data<T>(call: Promise<Result<T>>): Promise<T> {
  const result = await call.catch((error: unknown) => {
    throw error instanceof DOMException && error.name === "AbortError" ? error : toApiError(error);
  });
  if (!result.response.ok) throw problemOf(result.response.status, result.error);
  return result.data as T;
}

/** Makes a change with a path or a body that is computed. `path` begins with `/api/v1`. */
export async function postJson<T>(path: string, body: unknown): Promise<T> {
  const post = api.POST as unknown as (path: string, init: unknown) => Promise<Result<T>>;
  return data(post(path, { body, headers: { "content-type": "application/json" } }));
}

export { ApiError };
