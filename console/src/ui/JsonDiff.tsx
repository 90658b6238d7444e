import { useMemo } from "react";
import { s } from "../strings";
import { diffJson, scalarText } from "./json-tree";

interface Props {
  before: unknown;
  after: unknown;
  beforeLabel: string;
  afterLabel: string;
}

/** The differences of two JSON values, one row for each value. */
export function JsonDiff({ before, after, beforeLabel, afterLabel }: Props) {
  const differences = useMemo(() => diffJson(before, after), [before, after]);
  if (differences.length === 0) return <p className="muted">{s.ui.noDifference}</p>;
  return (
    <div className="diff">
      <table>
        <thead>
          <tr><th scope="col">{s.ui.field}</th><th scope="col">{beforeLabel}</th><th scope="col">{afterLabel}</th></tr>
        </thead>
        <tbody>
          {differences.map((each) => (
            <tr key={each.path}>
              <td>{each.path || "/"} <span className="json-note">{s.ui[each.kind]}</span></td>
              <td className={each.kind === "added" ? "" : "removed"}>{each.kind === "added" ? "" : scalarText(each.before)}</td>
              <td className={each.kind === "removed" ? "" : "added"}>{each.kind === "removed" ? "" : scalarText(each.after)}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
