/**
 * The generated messages and clients of `proto/goconductor/v1`, for calls that `Client` does not offer. See `Client.grpc`.
 *
 * @packageDocumentation
 */
export * as definition from "./generated/goconductor/v1/definition.js";
export * as schedule from "./generated/goconductor/v1/schedule.js";
export * as service from "./generated/goconductor/v1/service.js";
export * as worker from "./generated/goconductor/v1/worker.js";
export * as workflow from "./generated/goconductor/v1/workflow.js";
