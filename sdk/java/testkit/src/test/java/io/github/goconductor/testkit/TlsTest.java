package io.github.goconductor.testkit;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.goconductor.Client;
import io.github.goconductor.ErrorKind;
import io.github.goconductor.GoConductorException;
import io.github.goconductor.Service;
import io.github.goconductor.TlsFiles;
import io.github.goconductor.Worker;
import io.github.goconductor.v1.ConnectRequest;
import io.github.goconductor.v1.ConnectResponse;
import io.github.goconductor.v1.Hello;
import io.github.goconductor.v1.Welcome;
import io.github.goconductor.v1.WorkerServiceGrpc;
import io.grpc.Grpc;
import io.grpc.Metadata;
import io.grpc.Server;
import io.grpc.ServerCall;
import io.grpc.ServerCallHandler;
import io.grpc.ServerInterceptor;
import io.grpc.Status;
import io.grpc.TlsServerCredentials;
import io.grpc.stub.StreamObserver;
import java.io.IOException;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.Key;
import java.security.KeyStore;
import java.security.cert.Certificate;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Base64;
import java.util.List;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

final class TlsTest {
    private static final String PASSWORD = "password";

    /** Certificates of one authority, which keytool of the JDK writes. */
    private static final class Authority {
        private final Path folder;

        Authority(Path folder) throws Exception {
            this.folder = Files.createDirectories(folder);
            keytool("ca", "-genkeypair", "-keyalg", "EC", "-dname", "CN=ca", "-ext", "bc:c=ca:true");
            write("ca");
        }

        /** Runs keytool with the store of a certificate. */
        private void keytool(String name, String... arguments) throws Exception {
            List<String> command = new ArrayList<>(List.of(
                    Path.of(System.getProperty("java.home"), "bin", "keytool").toString()));
            command.addAll(List.of(arguments));
            command.addAll(List.of("-alias", name, "-keystore", path(name + ".p12").toString(), "-storepass", PASSWORD));
            Process process = new ProcessBuilder(command).redirectErrorStream(true).start();
            String output = new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
            assertEquals(0, process.waitFor(), output);
        }

        /** Signs a certificate, and writes NAME.pem and NAME.key. */
        void sign(String name, String names) throws Exception {
            keytool(name, "-genkeypair", "-keyalg", "EC", "-dname", "CN=" + name);
            keytool(name, "-certreq", "-file", path(name + ".csr").toString());
            keytool("ca", "-gencert", "-rfc", "-infile", path(name + ".csr").toString(),
                    "-outfile", path(name + ".crt").toString(), "-ext", "san=" + names);
            keytool("ca", "-exportcert", "-rfc", "-file", path("ca.crt").toString());
            Files.writeString(path(name + ".chain"),
                    Files.readString(path(name + ".crt")) + Files.readString(path("ca.crt")));
            keytool(name, "-importcert", "-noprompt", "-file", path(name + ".chain").toString());
            write(name);
        }

        private void write(String name) throws Exception {
            KeyStore store = KeyStore.getInstance("PKCS12");
            try (InputStream file = Files.newInputStream(path(name + ".p12"))) {
                store.load(file, PASSWORD.toCharArray());
            }
            Certificate certificate = store.getCertificateChain(name)[0];
            Key key = store.getKey(name, PASSWORD.toCharArray());
            Files.writeString(path(name + ".pem"), pem("CERTIFICATE", certificate.getEncoded()));
            Files.writeString(path(name + ".key"), pem("PRIVATE KEY", key.getEncoded()));
        }

        private static String pem(String type, byte[] content) {
            return "-----BEGIN " + type + "-----\n"
                    + Base64.getMimeEncoder(64, new byte[] {'\n'}).encodeToString(content)
                    + "\n-----END " + type + "-----\n";
        }

        Path path(String name) {
            return folder.resolve(name);
        }

        /** Starts an executor with a certificate. It accepts workers with a certificate and a token. */
        Server listen(String name, BlockingQueue<Hello> hellos) throws IOException {
            return Grpc.newServerBuilderForPort(0, TlsServerCredentials.newBuilder()
                            .keyManager(path(name + ".pem").toFile(), path(name + ".key").toFile())
                            .trustManager(path("ca.pem").toFile())
                            .clientAuth(TlsServerCredentials.ClientAuth.REQUIRE).build())
                    .intercept(new RequireToken()).addService(new Executor(hellos)).build().start();
        }
    }

    private static final class RequireToken implements ServerInterceptor {
        @Override
        public <Q, R> ServerCall.Listener<Q> interceptCall(
                ServerCall<Q, R> call, Metadata headers, ServerCallHandler<Q, R> next) {
            if (!"Bearer secret".equals(headers.get(Metadata.Key.of("authorization", Metadata.ASCII_STRING_MARSHALLER)))) {
                call.close(Status.UNAUTHENTICATED.withDescription("the token is missing"), new Metadata());
                return new ServerCall.Listener<>() {};
            }
            return next.startCall(call, headers);
        }
    }

    private static final class Executor extends WorkerServiceGrpc.WorkerServiceImplBase {
        private final BlockingQueue<Hello> hellos;

        Executor(BlockingQueue<Hello> hellos) {
            this.hellos = hellos;
        }

        @Override
        public StreamObserver<ConnectRequest> connect(StreamObserver<ConnectResponse> responses) {
            return new StreamObserver<>() {
                @Override
                public void onNext(ConnectRequest request) {
                    if (request.hasHello()) {
                        hellos.add(request.getHello());
                        responses.onNext(ConnectResponse.newBuilder()
                                .setWelcome(Welcome.newBuilder().setExecutor("test")).build());
                    }
                }

                @Override
                public void onError(Throwable failure) {
                    hellos.clear();
                }

                @Override
                public void onCompleted() {
                    responses.onCompleted();
                }
            };
        }
    }

    /** Connects a worker. */
    private static void connect(Server server, String token, TlsFiles files) {
        Service shop = Service.builder("shop").action("work", Object.class, (attempt, input) -> null).build();
        try (Client client = Client.builder("https://127.0.0.1:1").tls(files).token(token)
                .executors(List.of("https://127.0.0.1:" + server.getPort())).build();
                Worker worker = client.serve(shop)) {
            worker.connected(Duration.ofSeconds(10));
        }
    }

    private static void refused(String reason, Server server, String token, TlsFiles files) {
        Service shop = Service.builder("shop").action("work", Object.class, (attempt, input) -> null).build();
        try (Client client = Client.builder("https://127.0.0.1:1").tls(files).token(token)
                .executors(List.of("https://127.0.0.1:" + server.getPort())).build();
                Worker worker = client.serve(shop)) {
            GoConductorException failure =
                    assertThrows(GoConductorException.class, () -> worker.connected(Duration.ofSeconds(3)));
            assertEquals(ErrorKind.NO_EXECUTOR, failure.kind());
            assertTrue(failure.getMessage().contains(reason), failure.getMessage());
        }
    }

    @Test
    void workerConnectsWithCertificateAndToken(@TempDir Path folder) throws Exception {
        Authority trusted = new Authority(folder.resolve("trusted"));
        Authority other = new Authority(folder.resolve("other"));
        trusted.sign("worker", "uri:spiffe://goconductor/worker");
        trusted.sign("executor", "uri:spiffe://goconductor/saga-executor");
        trusted.sign("store", "uri:spiffe://goconductor/state-store");
        TlsFiles files = new TlsFiles(trusted.path("ca.pem"), trusted.path("worker.pem"), trusted.path("worker.key"));
        BlockingQueue<Hello> hellos = new LinkedBlockingQueue<>();
        Server executor = trusted.listen("executor", hellos);
        Server store = trusted.listen("store", hellos);
        try {
            connect(executor, "secret", files);
            Hello hello = hellos.poll(10, TimeUnit.SECONDS);
            assertEquals("shop", hello.getService());
            assertEquals(64, hello.getCapacity());
            refused("the token is missing", executor, "wrong", files);
            refused("expected saga-executor", store, "secret", files);
            refused("Path does not chain", executor, "secret",
                    new TlsFiles(other.path("ca.pem"), files.certificate(), files.key()));
        } finally {
            executor.shutdownNow();
            store.shutdownNow();
        }
        GoConductorException misuse = assertThrows(GoConductorException.class, () -> Client.builder("https://127.0.0.1:1")
                .tls(TlsFiles.authorities(folder.resolve("missing.pem"))).build());
        assertEquals(ErrorKind.MISUSE, misuse.kind());
    }
}
