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
 * <p>A server with a virtual clock moves it to the next time that is due whenever nothing is in flight, so that a saga that
 * sleeps for 30 days ends at once: {@code TestServer.builder().virtualTime().start()}.
 *
 * <p>The kit needs no test framework. Failed assertions are {@link java.lang.AssertionError}s.
 */
package io.github.goconductor.testkit;
