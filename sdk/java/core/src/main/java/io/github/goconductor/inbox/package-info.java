/**
 * Deduplicates the requests to a participant, in the participant's own database transaction.
 *
 * <p>The engine can send a request more than once with the same idempotency key, and a compensate can arrive before its
 * execute. An {@link io.github.goconductor.inbox.Inbox} records every request in the transaction that changes the
 * participant's data: a repeated request returns the stored output and changes nothing; a compensate whose execute never
 * arrived is recorded, and the execute is refused if it arrives later; a transaction that is rolled back leaves no record.
 *
 * <pre>{@code
 * Payment charge(Attempt attempt, Order order) throws Exception {
 *     return inbox.execute(attempt, Payment.class, connection -> {
 *         insertPayment(connection, order);
 *         return new Payment(…);
 *     });
 * }
 *
 * void refund(Attempt attempt, CompensationInput<Order, Payment> undo) throws Exception {
 *     inbox.compensate(attempt, Payment.class, (connection, payment) -> deletePayment(connection, payment));
 * }
 * }</pre>
 *
 * <p>Tables and decisions are those of the inboxes of the other languages, so that programs in several languages can share a
 * database.
 */
package io.github.goconductor.inbox;
