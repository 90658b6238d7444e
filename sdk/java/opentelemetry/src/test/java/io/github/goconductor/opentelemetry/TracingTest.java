package io.github.goconductor.opentelemetry;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.goconductor.ActionException;
import io.github.goconductor.Client;
import io.github.goconductor.StartOptions;
import io.github.goconductor.Workflow;
import io.github.goconductor.WorkflowStep;
import io.github.goconductor.testkit.TestServer;
import io.opentelemetry.api.trace.Span;
import io.opentelemetry.api.trace.SpanKind;
import io.opentelemetry.api.trace.StatusCode;
import io.opentelemetry.context.Context;
import io.opentelemetry.sdk.OpenTelemetrySdk;
import io.opentelemetry.sdk.testing.exporter.InMemorySpanExporter;
import io.opentelemetry.sdk.trace.SdkTracerProvider;
import io.opentelemetry.sdk.trace.data.SpanData;
import io.opentelemetry.sdk.trace.export.SimpleSpanProcessor;
import java.time.Duration;
import java.util.concurrent.atomic.AtomicReference;
import org.junit.jupiter.api.Test;

final class TracingTest {
    @Test
    void spansOfActionsBelongToTheTraceOfTheStart() throws Exception {
        InMemorySpanExporter exporter = InMemorySpanExporter.create();
        SdkTracerProvider provider = SdkTracerProvider.builder()
                .addSpanProcessor(SimpleSpanProcessor.create(exporter)).build();
        OpenTelemetrySdk telemetry = OpenTelemetrySdk.builder().setTracerProvider(provider).build();
        AtomicReference<String> traceparent = new AtomicReference<>();
        Workflow workflow = new Workflow("Order",
                new WorkflowStep("Charge", step -> {
                    traceparent.set(step.attempt().traceparent());
                    assertTrue(Span.current().getSpanContext().isValid());
                }, null),
                new WorkflowStep("Ship", step -> {
                    throw ActionException.refused("NO_ADDRESS", "no address");
                }, null));
        try (TestServer server = TestServer.start();
                Client client = Tracing.apply(Client.builder(server.url()), telemetry).build()) {
            Span start = telemetry.getTracer("test").spanBuilder("order").startSpan();
            Context.current().with(start).wrap(() ->
                    client.startWorkflow(workflow, StartOptions.defaults()).result(Duration.ofMinutes(1))).call();
            start.end();
            SpanData charge = span(exporter, "order/charge");
            assertEquals(start.getSpanContext().getTraceId(), charge.getTraceId());
            assertEquals(traceparent.get().split("-")[2], charge.getParentSpanId());
            assertEquals(SpanKind.SERVER, charge.getKind());
            SpanData ship = span(exporter, "order/ship");
            assertEquals(StatusCode.ERROR, ship.getStatus().getStatusCode());
            assertTrue(ship.getStatus().getDescription().contains("NO_ADDRESS"));
        } finally {
            telemetry.close();
        }
    }

    private static SpanData span(InMemorySpanExporter exporter, String name) {
        return exporter.getFinishedSpanItems().stream().filter(each -> each.getName().equals(name)).findFirst().orElseThrow();
    }
}
