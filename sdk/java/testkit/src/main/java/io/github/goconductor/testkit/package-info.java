/**
 * Tests sagas against the real engine: a child process {@code goconductor dev}, the real actions, and injected faults.
 *
 * <pre>{@code
 * try (TestServer server = TestServer.start()) {
 *     Saga.of(server, workflow)
 *             .inject(Attempts.onExecute("update_inventory"), Fault.REFUSE)
 *             .run(order)
 *             .assertStatus(WorkflowStatus.ROLLED_BACK)
 *             .assertExecuted("process_payment")
 *             .assertCompensated("process_payment");
 * }
 * }</pre>
 *
 * <p>The kit needs no test framework. Failed assertions are {@link java.lang.AssertionError}s.
 */
package io.github.goconductor.testkit;
