package io.github.goconductor.examples;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.goconductor.Client;
import io.github.goconductor.Json;
import io.github.goconductor.testkit.TestServer;
import java.io.IOException;
import java.net.Socket;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import org.junit.jupiter.api.Test;

/** Runs the programs as processes of their own. */
final class ProgramsTest {
    private static final Path SOURCES = Path.of("src/main/java/io/github/goconductor/examples");

    private static ProcessBuilder program(String name) {
        return new ProcessBuilder(Path.of(System.getProperty("java.home"), "bin", "java").toString(),
                "-XX:TieredStopAtLevel=1", "-cp", System.getProperty("java.class.path"),
                "io.github.goconductor.examples." + name).redirectError(ProcessBuilder.Redirect.INHERIT);
    }

    @Test
    void sagaInOneProgramCompletesAndRollsBack() throws Exception {
        assertTrue(Files.readAllLines(SOURCES.resolve("orderinone/OrderInOne.java")).size() <= 40);
        try (TestServer server = TestServer.start()) {
            ProcessBuilder program = program("orderinone.OrderInOne");
            program.environment().put("GOCONDUCTOR_SERVER", server.url());
            Process process = program.start();
            String output = new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
            assertEquals(List.of("charged", "book COMPLETED", "charged", "refunded", "sold-out ROLLED_BACK"),
                    output.lines().toList());
            assertEquals(0, process.waitFor());
        }
    }

    @Test
    void participantWithoutTheSdkTakesPart() throws Exception {
        Process participant = program("httpparticipant.HttpParticipant").start();
        try (TestServer server = TestServer.start(); Client client = Client.connect(server.url())) {
            awaitPort(9101);
            HttpResponse<String> put = HttpClient.newHttpClient().send(
                    HttpRequest.newBuilder(URI.create(server.url() + "/api/v1/services/parcels"))
                            .header("Content-Type", "application/json")
                            .PUT(HttpRequest.BodyPublishers.ofString("{\"http\": {\"url\": \"http://127.0.0.1:9101\"}}"))
                            .build(), HttpResponse.BodyHandlers.ofString());
            assertTrue(put.statusCode() < 300, put.body());
            client.apply("shipping", """
                    workflow: shipping
                    steps:
                      - { name: pack, run: parcels/pack, compensate: parcels/unpack }
                    output: { packed: "${ steps.pack.output.done }" }
                    """);
            assertEquals(new Json("{\"packed\":\"/pack\"}"),
                    client.start("shipping").result(Duration.ofSeconds(30)).output());
        } finally {
            participant.destroyForcibly();
        }
    }

    private static void awaitPort(int port) throws Exception {
        for (int attempt = 0; attempt < 300; attempt++) {
            try (Socket socket = new Socket("127.0.0.1", port)) {
                assertTrue(socket.isConnected());
                return;
            } catch (IOException e) {
                Thread.sleep(100);
            }
        }
        throw new AssertionError("no process listens on port " + port);
    }
}
