import { ApiError, toApiError } from "../../api/problem";
import { s } from "../../strings";

/**
 * Runs a change for each id, one after the other. An id that is gone counts as done. Returns the number of changes, and
 * throws the first error with the number of failures after all were tried.
 */
export async function runAll(ids: readonly string[], change: (id: string) => Promise<unknown>, onProgress: (done: number) => void): Promise<number> {
  let failed = 0;
  let first: ApiError | undefined;
  let done = 0;
  for (const id of ids) {
    try {
      await change(id);
    } catch (error) {
      const problem = toApiError(error);
      if (problem.status === 401 || problem.status === 403) throw problem;
      if (problem.status !== 404) {
        failed += 1;
        first ??= problem;
      }
    }
    done += 1;
    onProgress(done);
  }
  if (!first) return ids.length;
  throw new ApiError({ status: first.status, code: first.code, title: s.deadLetters.failed(failed, ids.length), detail: first.detail || first.title, traceId: first.traceId });
}
