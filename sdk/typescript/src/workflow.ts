import { misuse } from "./errors.js";
import { type ActionFunction, type CompensationFunction, type CompensationInput, Service } from "./service.js";
import type { Attempt } from "./attempt.js";

/**
 * The number of attempts of a step that sets none. An error of a function in the program that starts the workflow rarely disappears
 * with time, so it rolls the saga back within seconds.
 */
const defaultStepAttempts = 5;

/** A retry policy: how often and when an attempt is repeated. A field that is absent has the default of the engine. */
export interface RetryPolicy {
  /** The number of attempts (default: 5). */
  maxAttempts?: number;
  /** The delay after the first attempt. */
  initialMs?: number;
  /** The longest delay. */
  maxMs?: number;
}

/** A step: a function that executes it and a function that compensates it. {@link step} checks the type of the output. */
export interface WorkflowStep<Input> {
  /** The title. "Process Payment" becomes the step process_payment. */
  name: string;
  /** The retry policy of `execute`. */
  retry?: RetryPolicy;
  /** Limits one attempt (default: that of the engine, 30 seconds). */
  timeoutMs?: number;
  /** Executes the step. It receives the input of the workflow, and returns the output of the step. */
  execute(input: Input, attempt: Attempt): unknown;
  /**
   * Undoes the step. It must succeed if there is nothing to undo. Without it, the step has nothing to undo.
   */
  compensate?(undo: CompensationInput<Input, unknown>, attempt: Attempt): void | Promise<void>;
}

/** A saga whose steps are functions. The steps run in order and are compensated in reverse order. */
export interface Workflow<Input = unknown> {
  /**
   * The title. "Order Processing" becomes the definition order-processing, which is also the name of the service that runs
   * the steps.
   */
  name: string;
  /** At least one step. */
  steps: readonly WorkflowStep<Input>[];
  /** Limits the forward part of the workflow (default: no limit). */
  timeoutMs?: number;
}

/** Returns a step whose compensation receives the output of its `execute`. The compiler checks that their types match. */
export function step<Input, Output>(
  fields: Omit<WorkflowStep<Input>, "execute" | "compensate"> & {
    execute: ActionFunction<Input, Output>;
    compensate?: CompensationFunction<Input, Output>;
  },
): WorkflowStep<Input> {
  return fields;
}

/** Returns the name of the definition and of the service of a workflow, such as order-processing. */
export function definitionName(workflow: Workflow<never>): string {
  return words(workflow.name, "-");
}

/** Returns the definition of a workflow as JSON. Throws an error of the kind `misuse` if the workflow is incomplete. */
export function definitionOf(workflow: Workflow<never>): string {
  const name = definitionName(workflow);
  if (name === "" || workflow.steps.length === 0) {
    throw misuse(`the workflow ${JSON.stringify(workflow.name)} must have a name and at least one step`);
  }
  return JSON.stringify({
    workflow: name,
    title: workflow.name,
    timeout: duration(workflow.timeoutMs),
    steps: workflow.steps.map((each) => ({
      name: stepName(each.name),
      title: each.name,
      run: `${name}/${stepName(each.name)}`,
      compensate: each.compensate === undefined ? "none" : `${name}/undo_${stepName(each.name)}`,
      timeout: duration(each.timeoutMs),
      retry: {
        max_attempts: each.retry?.maxAttempts ?? defaultStepAttempts,
        initial: duration(each.retry?.initialMs),
        max: duration(each.retry?.maxMs),
      },
    })),
  });
}

/** Returns the service that runs the steps of a workflow, to serve it without starting a workflow. */
export function serviceOf<Input>(workflow: Workflow<Input>): Service {
  const service = new Service(definitionName(workflow));
  for (const each of workflow.steps) {
    const name = stepName(each.name);
    service.action<Input, unknown>(name, (input, attempt) => each.execute(input, attempt));
    if (each.compensate !== undefined) {
      service.compensation<Input, unknown>(`undo_${name}`, (undo, attempt) => each.compensate?.(undo, attempt));
    }
  }
  service.check();
  return service;
}

function stepName(title: string): string {
  const name = words(title, "_");
  if (name === "") {
    throw misuse(`the step ${JSON.stringify(title)} must have a name with letters or digits`);
  }
  return name;
}

/** Joins the words of a title, in lower case and without other characters than letters and digits of ASCII. */
function words(title: string, separator: string): string {
  return title.split(/[^A-Za-z0-9]+/).filter((word) => word !== "").join(separator).toLowerCase();
}

/** Converts a duration to the form of definitions. A duration that is absent or 0 has no form. */
function duration(ms: number | undefined): string | undefined {
  return ms === undefined || ms <= 0 ? undefined : `${Math.max(1, Math.trunc(ms))}ms`;
}
