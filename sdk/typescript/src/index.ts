/**
 * The client, workers, code-first workflows and services of typed actions of GoConductor.
 *
 * @packageDocumentation
 */
export { Attempt, type AttemptFields, type Operation } from "./attempt.js";
export type { CallOptions } from "./calls.js";
export {
  type Applied, Client, type ClientOptions, close, defaultAddress, type ListOptions, type StartOptions, startWorkflow,
  type Warning,
} from "./client.js";
export {
  ActionError, type ActionErrorOptions, asActionError, AttemptCancelled, DeadlineExceeded, type ErrorKind,
  type ErrorLocation, GoConductorError, type GoConductorErrorOptions, type Outcome, Refused, Retryable, StreamLost, Unknown,
} from "./errors.js";
export { Handle, type SignalOption, type SignalOptions } from "./handle.js";
export { decodeJson, encodeJson, RawJson } from "./json.js";
export { type LogFields, type Logger, stderrLogger } from "./logger.js";
export { type Overlap, type Schedule, type ScheduleRun, Schedules, type ScheduleSpec } from "./schedule.js";
export {
  type ActionFunction, type ActionOptions, type CompensationFunction, type CompensationInput, type Handler,
  type HandlerOptions, type Interceptor, type ProbeAnswer, Service, type ServiceOptions,
} from "./service.js";
export type { TlsFiles } from "./tls.js";
export {
  type Description, type Event, type Failure, isFinal, type Result, type Status, type StepDescription, type Waiting,
} from "./view.js";
export { type WaitOptions, Worker } from "./worker.js";
export { definitionName, definitionOf, type RetryPolicy, serviceOf, step, type Workflow, type WorkflowStep } from "./workflow.js";
