/**
 * Tests sagas against the real engine: a child process `goconductor dev`, the real actions, and injected faults.
 *
 * ```ts
 * const server = await startServer();
 * const run = await Saga.of(server, workflow).inject(onExecute("update_inventory"), "refuse").run(order);
 * run.assertStatus("ROLLED_BACK");
 * run.assertExecuted("process_payment");
 * run.assertCompensated("process_payment");
 * await server.stop();
 * ```
 *
 * A server with the option `virtualTime` moves its clock to the next time that is due whenever nothing is in flight, so that
 * a saga that sleeps for 30 days ends at once.
 *
 * The assertions throw an `AssertionError`, so that every test runner reports them.
 *
 * @packageDocumentation
 */
export type { Move } from "./clock.js";
export { Attempts, type Fault, faults, onCompensate, onExecute } from "./fault.js";
export { type Call, Run } from "./run.js";
export { Saga } from "./saga.js";
export { Server, type ServerOptions, startServer } from "./server.js";
