package io.github.goconductor.testkit;

import io.github.goconductor.Client;
import io.github.goconductor.Description;
import io.github.goconductor.Handle;
import io.github.goconductor.WorkflowStatus;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.UncheckedIOException;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.net.http.HttpClient;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Deque;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ThreadLocalRandom;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.regex.Pattern;
import java.util.stream.Stream;

/**
 * A child process {@code goconductor dev}, which ends with the test.
 *
 * <p>The program {@code goconductor} is that of the environment variable {@code GOCONDUCTOR_BINARY}, or the one in the PATH.
 */
public final class TestServer implements AutoCloseable {
    /** How long a server may take to start. */
    private static final Duration START_TIMEOUT = Duration.ofSeconds(30);
    /** How long a server may take to end before it is killed. */
    private static final Duration STOP_TIMEOUT = Duration.ofSeconds(10);
    /** How long the work at a due time may take while the clock is moved. */
    private static final Duration ADVANCE_TIMEOUT = Duration.ofMinutes(1);
    /** The number of lines of the log that an error shows. */
    private static final int LOG_LINES = 20;
    private static final int PORT_ATTEMPTS = 100;
    private static final int MIN_PORT = 10_000;
    private static final int MAX_PORT = 20_000;
    private static final Pattern READY = Pattern.compile("GoConductor .* is ready");

    private final Path binary;
    private final Path data;
    private final boolean virtual;
    private final List<String> extra;
    private final String address;
    private final HttpClient http = HttpClient.newHttpClient();
    private final Deque<String> log = new ArrayDeque<>();
    private Process process;

    private TestServer(Builder builder) {
        binary = program();
        data = builder.data;
        virtual = builder.virtual;
        extra = List.copyOf(builder.extra);
        address = "127.0.0.1:" + freePort();
        launch();
    }

    /**
     * Starts a server in memory.
     *
     * @return the server
     * @throws IllegalStateException if the program is not found, or if it does not start
     */
    public static TestServer start() {
        return builder().start();
    }

    /**
     * Returns a builder of a server.
     *
     * @return the builder
     */
    public static Builder builder() {
        return new Builder();
    }

    /** Builds a {@link TestServer}. */
    public static final class Builder {
        private final List<String> extra = new ArrayList<>();
        private Path data;
        private boolean virtual;

        private Builder() {}

        /**
         * Keeps the data in a directory, so that it survives {@link #kill()} and {@link #restart()} (default: in memory).
         *
         * @param directory the directory
         * @return this builder
         */
        public Builder dataDirectory(Path directory) {
            data = directory;
            return this;
        }

        /**
         * Makes the clock of the server virtual. Timers, retries, schedules and the deadlines of workflows then follow
         * {@link TestServer#advance} and the runs of sagas, and attempts keep their timeouts in real time. All tests of a server share
         * its clock, so that a test with a virtual clock needs a server of its own.
         *
         * @return this builder
         */
        public Builder virtualTime() {
            virtual = true;
            return this;
        }

        /**
         * Adds arguments to the command, such as {@code --set executor.worker_lease=2s}.
         *
         * @param arguments the arguments
         * @return this builder
         */
        public Builder arguments(String... arguments) {
            extra.addAll(List.of(arguments));
            return this;
        }

        /**
         * Starts the server.
         *
         * @return the server
         * @throws IllegalStateException if the program is not found, or if it does not start
         */
        public TestServer start() {
            return new TestServer(this);
        }
    }

    private static Path program() {
        String named = System.getenv("GOCONDUCTOR_BINARY");
        if (named != null && !named.isEmpty()) {
            return Path.of(named);
        }
        return Stream.of(System.getenv().getOrDefault("PATH", "").split(java.io.File.pathSeparator))
                .map(each -> Path.of(each, "goconductor"))
                .filter(Files::isExecutable)
                .findFirst()
                .orElseThrow(() -> new IllegalStateException(
                        "the program goconductor was not found: set GOCONDUCTOR_BINARY to its path"));
    }

    /**
     * Returns a port that no process listens on. A restart needs the same address again, so that the port is below those
     * that the system gives to outgoing connections.
     */
    private static int freePort() {
        for (int attempt = 0; attempt < PORT_ATTEMPTS; attempt++) {
            int port = ThreadLocalRandom.current().nextInt(MIN_PORT, MAX_PORT);
            try (ServerSocket socket = new ServerSocket(port, 1, InetAddress.getLoopbackAddress())) {
                return socket.getLocalPort();
            } catch (IOException e) {
                // The port is taken.
                continue;
            }
        }
        throw new IllegalStateException("found no free port in " + PORT_ATTEMPTS + " attempts");
    }

    /**
     * Returns the address of the gateway.
     *
     * @return the URL
     */
    public String url() {
        return "http://" + address;
    }

    /**
     * Returns a client.
     *
     * @param namespace the namespace
     * @return the client
     */
    public Client client(String namespace) {
        return Client.builder(url()).namespace(namespace).build();
    }

    boolean hasVirtualTime() {
        return virtual;
    }

    /**
     * Moves the virtual clock forward. It stops at each time that is due on the way, and waits there until nothing is in
     * flight, so that everything happens at its time and in its order.
     *
     * @param by the duration
     * @throws IllegalStateException if the clock is not virtual, or if the work at a due time takes more than a minute
     */
    public void advance(Duration by) {
        Duration left = by;
        long began = System.nanoTime();
        while (true) {
            ClockMove moved = toNextDue(left);
            if (moved.result() != ClockMove.Result.BUSY) {
                // The last request only waits until nothing is in flight.
                if (left.isZero()) {
                    return;
                }
                left = left.minus(moved.advanced());
                left = left.isNegative() ? Duration.ZERO : left;
                began = System.nanoTime();
            } else if (System.nanoTime() - began > ADVANCE_TIMEOUT.toNanos()) {
                throw moved.busy();
            }
        }
    }

    /**
     * Moves the virtual clock until a saga has ended, or waits for an operator.
     *
     * @param saga the saga
     * @return the state of the saga at the end
     * @throws IllegalStateException if the clock is not virtual, or if the saga waits for something else than a time, such
     *     as a signal
     */
    public Description runToEnd(Handle saga) {
        while (true) {
            ClockMove settled = toNextDue(Duration.ZERO);
            Description described = saga.describe();
            if (described.status().isFinal() || described.status() == WorkflowStatus.ERROR) {
                return described;
            }
            if (settled.result() == ClockMove.Result.BUSY) {
                throw settled.busy();
            }
            if (toNextDue(null).result() == ClockMove.Result.NOTHING_DUE) {
                throw new IllegalStateException(
                        "the saga is " + described.status() + ", and no time is due that it could wait for");
            }
        }
    }

    /**
     * Moves the virtual clock to the next time that is due. The clock is not moved while work is due or in flight.
     *
     * @param atMost the longest move; null if it has no limit
     * @return the result
     * @throws IllegalStateException if the clock is not virtual
     */
    public ClockMove toNextDue(Duration atMost) {
        if (!virtual) {
            throw new IllegalStateException(
                    "the clock of the server is real: start it with TestServer.builder().virtualTime()");
        }
        return ClockMove.toNextDue(http, url(), atMost);
    }

    private void launch() {
        List<String> command = new ArrayList<>(List.of(
                binary.toString(), "dev", "--listen", address, "--log-level", "warn"));
        command.addAll(data == null ? List.of("--ephemeral") : List.of("--data-dir", data.toString()));
        if (virtual) {
            command.add("--virtual-time");
        }
        command.addAll(extra);
        ProcessBuilder builder = new ProcessBuilder(command).redirectErrorStream(true);
        // Variables of the environment are settings of the server.
        builder.environment().keySet().removeIf(each -> each.startsWith("GOCONDUCTOR_"));
        CompletableFuture<Boolean> ready = new CompletableFuture<>();
        try {
            process = builder.start();
        } catch (IOException e) {
            throw new UncheckedIOException("failed to start " + binary, e);
        }
        Process started = process;
        // The server does not outlive this process, unless this process is killed.
        Runtime.getRuntime().addShutdownHook(new Thread(started::destroyForcibly));
        Thread reader = new Thread(() -> read(started, ready), "goconductor-log");
        reader.setDaemon(true);
        reader.start();
        try {
            if (!ready.get(START_TIMEOUT.toMillis(), TimeUnit.MILLISECONDS)) {
                throw new IllegalStateException(binary + " ended before it was ready:\n" + log());
            }
        } catch (TimeoutException e) {
            kill();
            throw new IllegalStateException(
                    binary + " was not ready within " + START_TIMEOUT.toSeconds() + " s:\n" + log(), e);
        } catch (InterruptedException e) {
            kill();
            Thread.currentThread().interrupt();
            throw new IllegalStateException("the thread was interrupted during the start of " + binary, e);
        } catch (ExecutionException e) {
            throw new IllegalStateException(e.getCause());
        }
    }

    private void read(Process from, CompletableFuture<Boolean> ready) {
        try (BufferedReader lines =
                new BufferedReader(new InputStreamReader(from.getInputStream(), StandardCharsets.UTF_8))) {
            for (String line = lines.readLine(); line != null; line = lines.readLine()) {
                synchronized (log) {
                    log.add(line);
                    if (log.size() > LOG_LINES) {
                        log.remove();
                    }
                }
                if (READY.matcher(line).matches()) {
                    ready.complete(true);
                }
            }
            ready.complete(false);
        } catch (IOException e) {
            ready.complete(false);
        }
    }

    /**
     * Returns the last lines of the log.
     *
     * @return the lines
     */
    public String log() {
        synchronized (log) {
            return String.join("\n", log);
        }
    }

    /** Ends the server. */
    @Override
    public void close() {
        process.destroy();
        try {
            if (!process.waitFor(STOP_TIMEOUT.toMillis(), TimeUnit.MILLISECONDS)) {
                kill();
            }
        } catch (InterruptedException e) {
            kill();
            Thread.currentThread().interrupt();
        }
    }

    /** Ends the server by SIGKILL, as a crash of the machine would. */
    public void kill() {
        process.destroyForcibly().onExit().join();
    }

    /**
     * Starts the server again at the same address.
     *
     * @throws IllegalStateException if it does not start
     */
    public void restart() {
        close();
        launch();
    }
}
