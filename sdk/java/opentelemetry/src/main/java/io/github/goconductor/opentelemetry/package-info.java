/**
 * Records OpenTelemetry spans in the traces of workflows.
 *
 * <pre>{@code
 * Client client = Tracing.apply(Client.builder(url), telemetry).build();
 * }</pre>
 */
package io.github.goconductor.opentelemetry;
