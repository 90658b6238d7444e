import type { CSSProperties } from "react";
import type { Batch } from "../../api/types";
import { s } from "../../strings";

const text = s.batches;
export const RESULTS = ["done", "refused", "failed", "pending"] as const;
export const RESULT_TONES = { done: "good", refused: "undo", failed: "bad", pending: "idle" } as const;

/** The results of a batch as parts of a bar, and as text for assistive technology. */
export function Progress({ batch, wide }: { batch: Batch; wide?: boolean }) {
  const ended = batch.total - batch.pending;
  return (
    <span className={`batch-progress${wide ? " wide" : ""}`}>
      <span className="bar" role="progressbar" aria-label={text.progress} aria-valuemin={0} aria-valuemax={batch.total} aria-valuenow={ended}
        aria-valuetext={text.of(ended, batch.total)}>
        {RESULTS.map((result) => batch[result] > 0 && (
          <i key={result} className={`tone-${RESULT_TONES[result]} ${result}`} style={{ "--share": batch[result] } as CSSProperties} />
        ))}
      </span>
      <span className="num">{text.of(ended, batch.total)}</span>
    </span>
  );
}

/** Milliseconds until a running batch ends at its rate. */
export function remainingMs(batch: Pick<Batch, "status" | "pending" | "rate">): number | undefined {
  return batch.status === "RUNNING" && batch.pending > 0 && batch.rate > 0 ? (batch.pending / batch.rate) * 1_000 : undefined;
}
