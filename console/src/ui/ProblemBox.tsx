import { s } from "../strings";
import { toApiError } from "../api/problem";

/** An error of the API: title, detail, the problems with their places, the page of the code, and the trace id. */
export function ProblemBox({ error }: { error: unknown }) {
  const problem = toApiError(error);
  return (
    <div className="problem-box" role="alert">
      <strong>{problem.title}</strong>
      {problem.detail && <span>{problem.detail}</span>}
      {problem.errors.length > 0 && (
        <ul className="stack">
          {problem.errors.map((each, index) => (
            <li key={index}>
              <code>{each.line ? `${each.line}:${each.column ?? 1}` : each.pointer}</code> {each.detail}
            </li>
          ))}
        </ul>
      )}
      {(problem.code || problem.traceId) && (
        <small className="row muted">
          {problem.code && <a href={`/errors/${problem.code}`} target="_blank" rel="noreferrer">{s.errors.page(problem.code)}</a>}
          {problem.traceId && <code>{s.errors.trace(problem.traceId)}</code>}
        </small>
      )}
    </div>
  );
}
