// Package goconductor starts sagas and takes part in them, from Go.
//
// The simplest program has a [Workflow] whose steps are functions. [StartWorkflow] applies its definition, runs its
// steps in this program and starts it:
//
//	workflow := goconductor.Workflow{
//		Name: "Order Processing",
//		Steps: []goconductor.WorkflowStep{
//			{Name: "Process Payment", Execute: charge, Compensate: refund},
//			{Name: "Update Inventory", Execute: reserve, Compensate: release},
//		},
//	}
//	order, err := goconductor.StartWorkflow(ctx, workflow, goconductor.WithInput(input))
//	if err != nil {
//		return err
//	}
//	result, err := order.Result(ctx)
//
// A microservice is a [Service] of typed actions and compensations. [Client.Run] connects it to the executors as a worker
// until the process is asked to end:
//
//	payments := goconductor.NewService("payments")
//	goconductor.Pair(payments, "charge", charge, "refund", refund)
//	err := client.Run(ctx, payments)
//
// # Outcomes
//
// An action that returns nil succeeded. The error of an action determines how the saga proceeds:
//
//   - [Retryable] and [RetryAfter]: nothing happened. The step is retried by its retry policy.
//   - [Refused]: nothing happened, and a retry would not help. The saga rolls back.
//   - [Unknown], and every other error: the action may have taken effect. The step is retried with the same idempotency
//     key, and compensated if the saga rolls back. The code is ERROR, CANCELLED if the error is [context.Canceled],
//     [ErrAttemptCancelled] or [ErrStreamLost], and DEADLINE_EXCEEDED if it is [context.DeadlineExceeded].
//   - A panic is an unknown outcome with the code PANICKED.
//   - An input that cannot be decoded is refused with the code BAD_INPUT. The action is not called. [Input] and [Output] are
//     called in a function that may have had an effect before, so that their failure is an unknown outcome.
//
// # Delivery
//
// Delivery is at least once: an action may be called again with the same [Attempt.Key]. The package inbox records what was
// done in the microservice's own database transaction, so that a repeat has no effect.
//
// # JSON
//
// Inputs and outputs are JSON. Numbers in untyped values are decoded as [encoding/json.Number], so that integers of 64 bits
// keep their digits.
//
// The package decides nothing about a workflow. The decisions are made where its state is committed.
package goconductor
