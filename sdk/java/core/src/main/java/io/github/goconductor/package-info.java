/**
 * Starts sagas and takes part in them.
 *
 * <p>The simplest program has a {@link io.github.goconductor.Workflow} whose steps are functions.
 * {@link io.github.goconductor.GoConductor#startWorkflow} applies its definition, runs its steps in this program and starts
 * it:
 *
 * <pre>{@code
 * var workflow = new Workflow("Order Processing",
 *         new WorkflowStep("Process Payment", this::charge, this::refund),
 *         new WorkflowStep("Update Inventory", this::reserve, this::release));
 * var order = GoConductor.startWorkflow(workflow, StartOptions.of(input));
 * var result = order.result();
 * }</pre>
 *
 * <p>A microservice is a {@link io.github.goconductor.Service} of typed actions and compensations.
 * {@link io.github.goconductor.Client#run} connects it to the executors as a worker until the process is asked to end:
 *
 * <pre>{@code
 * var payments = Service.builder("payments")
 *         .pair(Order.class, Payment.class, "charge", this::charge, "refund", this::refund)
 *         .build();
 * client.run(payments);
 * }</pre>
 *
 * <h2>Outcomes</h2>
 *
 * <p>An action that returns succeeded. {@link io.github.goconductor.ActionException} states another outcome. Every other
 * exception reports an unknown outcome, see {@link io.github.goconductor.ActionException#of}. An input that cannot be
 * decoded is refused with the code {@code BAD_INPUT}, and the action is not called. {@link
 * io.github.goconductor.StepContext#input} is called in a function that may have had an effect before, so that its failure is
 * an unknown outcome.
 *
 * <h2>Delivery</h2>
 *
 * <p>Delivery is at least once: an action may be called again with the same {@link io.github.goconductor.Attempt#key()}. The
 * package {@code io.github.goconductor.inbox} records what was done in the microservice's own database transaction, so that a
 * repeat has no effect.
 *
 * <h2>JSON</h2>
 *
 * <p>Inputs and outputs are JSON, converted by Jackson. Numbers of untyped values keep their digits. {@link
 * io.github.goconductor.Json} is a JSON text as it is.
 *
 * <p>The package decides nothing about a workflow. The decisions are made where its state is committed.
 */
package io.github.goconductor;
