/**
 * Emits events in the transaction of a participant, and publishes them afterwards.
 *
 * <p>An event that is emitted in a transaction exists exactly if the transaction was committed.
 * {@link io.github.goconductor.outbox.Outbox#relay} publishes the events at least once. Pass the id along, so that a repeat
 * is recognised. To start a workflow for each event:
 *
 * <pre>{@code
 * outbox.relay(event -> client.start(
 *         event.topic(), StartOptions.of(event.payload()).withKey(event.id())));
 * }</pre>
 */
package io.github.goconductor.outbox;
