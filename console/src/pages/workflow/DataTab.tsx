import { useState } from "react";
import { useStepDetail, type Attempt } from "../../api/insight";
import { FINAL_STATUSES, type Workflow, type WorkflowStep } from "../../api/types";
import { s } from "../../strings";
import { Empty, JsonDiff, JsonView, Loaded, Select, useParam } from "../../ui";
import { Failure } from "./StepPanel";

const text = s.workflow;

/** Input and output of the workflow and of each step, and the differences between attempts. */
export function DataTab({ workflow }: { workflow: Workflow }) {
  const [subject, setSubject] = useParam("of");
  const step = workflow.steps.find((each) => each.name === subject);
  const options = [["", text.theWorkflow] as const, ...workflow.steps.map((each) => [each.name, each.title || each.name] as const)];
  return (
    <div className="data">
      <div className="data-of"><Select label={text.subject} options={options} value={step ? subject : ""} onChange={(event) => setSubject(event.target.value)} /></div>
      {step ? <StepData key={step.name} workflow={workflow} step={step} /> : <Pair input={workflow.input} output={workflow.output} error={workflow.error} ended={FINAL_STATUSES.includes(workflow.status)} />}
    </div>
  );
}

function Pair({ input, output, error, ended, inputProblem }: { input: unknown; output: unknown; error: Workflow["error"]; ended: boolean; inputProblem?: string | null }) {
  return (
    <div className="data-pair">
      <section aria-label={text.input}>
        <h3>{text.input}</h3>
        {inputProblem ? <p className="problem-text">{inputProblem}</p> : input === null || input === undefined ? <p className="muted">{text.noInput}</p> : <JsonView label={text.input} value={input} />}
      </section>
      <section aria-label={text.outputTitle}>
        <h3>{text.outputTitle}</h3>
        {error && <Failure error={error} />}
        {output !== null && output !== undefined ? <JsonView label={text.outputTitle} value={output} /> : !error && <p className="muted">{ended ? text.noOutputEnded : text.noOutput}</p>}
      </section>
    </div>
  );
}

function StepData({ workflow, step }: { workflow: Workflow; step: WorkflowStep }) {
  const detail = useStepDetail(workflow.id, step.name, workflow.seq);
  return (
    <Loaded query={detail}>
      {(data) => (
        <>
          <Pair input={data.input} inputProblem={data.input_error} output={step.output} error={step.error} ended={Boolean(step.ended_at)} />
          {step.compensation && <section className="data-single" aria-label={text.undoInput}><h3>{text.undoInput}</h3><JsonView label={text.undoInput} value={data.compensation_input} /></section>}
          <Compare attempts={data.attempts.filter((each) => each.outcome !== "RUNNING")} />
        </>
      )}
    </Loaded>
  );
}

const result = (attempt: Attempt | undefined) => attempt && { outcome: attempt.outcome, ...(attempt.error && { error: attempt.error }), ...(attempt.output !== null && attempt.output !== undefined && { output: attempt.output }) };
const nameOf = (attempt: Attempt) => text.attemptName(text.sides[attempt.side] ?? attempt.side, attempt.attempt);

function Compare({ attempts }: { attempts: readonly Attempt[] }) {
  const [before, setBefore] = useState("0");
  const [after, setAfter] = useState<string>();
  const last = String(attempts.length - 1);
  const options = attempts.map((each, index) => [String(index), nameOf(each)] as const);
  const [first, second] = [attempts[Number(before)], attempts[Number(after ?? last)]];
  return (
    <section className="data-single" aria-label={text.compare}>
      <h3>{text.compare}</h3>
      {attempts.length === 0 ? <Empty title={s.common.none} /> : attempts.length === 1 || !first || !second ? <p className="muted">{text.compareOne}</p> : (
        <div className="stack">
          <div className="data-of row">
            <Select label={text.before} options={options} value={before} onChange={(event) => setBefore(event.target.value)} />
            <Select label={text.after} options={options} value={after ?? last} onChange={(event) => setAfter(event.target.value)} />
          </div>
          <JsonDiff before={result(first)} after={result(second)} beforeLabel={nameOf(first)} afterLabel={nameOf(second)} />
        </div>
      )}
    </section>
  );
}
