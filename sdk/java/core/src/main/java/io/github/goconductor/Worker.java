package io.github.goconductor;

import com.fasterxml.jackson.annotation.JsonProperty;
import io.github.goconductor.v1.ListProcessesRequest;
import io.github.goconductor.v1.Process;
import io.github.goconductor.v1.ServiceServiceGrpc;
import java.io.IOException;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collections;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.Phaser;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/** A service that is connected to executors. */
public final class Worker implements AutoCloseable {
    private static final Logger LOG = LoggerFactory.getLogger(Worker.class);
    /** The maximum number of streams. More would not improve availability. */
    private static final int MAX_STREAMS = 4;
    /** The interval at which new executors are discovered. */
    private static final long POLL_MILLIS = 2000;
    private static final int DISCOVER_SECONDS = 5;
    /** How long a shutdown waits for tasks in flight. */
    static final Duration DRAIN_TIMEOUT = Duration.ofSeconds(30);
    /** How long {@link #connected()} waits for the first stream. */
    private static final Duration CONNECT_TIMEOUT = Duration.ofSeconds(30);
    // The delays before a stream is opened again. They double with each refusal in a row.
    private static final long MIN_RECONNECT_MILLIS = 100;
    private static final long MAX_RECONNECT_MILLIS = 5000;

    /** A stream that ended. A null address means that the worker drains. */
    private record Ended(String address, boolean opened) {}

    /** The part of what an executor announces that concerns workers. */
    record About(@JsonProperty("only") List<String> only) {}

    private final Client client;
    private final Service service;
    private final StallDetector stalls = new StallDetector(System.nanoTime());
    private final CompletableFuture<Void> drain = new CompletableFuture<>();
    private final CompletableFuture<Void> done = new CompletableFuture<>();
    private final BlockingQueue<Ended> ended = new LinkedBlockingQueue<>();

    // Guarded by the monitor of this object.
    private final Set<WorkerStream> streams = new HashSet<>();
    private boolean closed;
    private int open;
    private String refusal = "no executor was asked yet";

    Worker(Client client, Service service) {
        this.client = client;
        this.service = service;
    }

    void start() {
        thread("goconductor-clock-" + service.name(), this::watchClock).start();
        thread("goconductor-worker-" + service.name(), this::run).start();
    }

    private static Thread thread(String name, Runnable task) {
        Thread thread = new Thread(task, name);
        thread.setDaemon(true);
        return thread;
    }

    /**
     * Returns the service of the worker.
     *
     * @return the service
     */
    public Service service() {
        return service;
    }

    Client client() {
        return client;
    }

    StallDetector stalls() {
        return stalls;
    }

    /**
     * Waits up to 30 seconds until the worker is connected to at least one executor.
     *
     * @throws GoConductorException of the kind {@link ErrorKind#NO_EXECUTOR}, with the reason of the last refusal, if no
     *     executor accepts the worker in time
     */
    public void connected() {
        connected(CONNECT_TIMEOUT);
    }

    /**
     * Waits until the worker is connected to at least one executor.
     *
     * @param timeout how long to wait
     * @throws GoConductorException of the kind {@link ErrorKind#NO_EXECUTOR}, with the reason of the last refusal, if no
     *     executor accepts the worker in time
     */
    public synchronized void connected(Duration timeout) {
        long deadline = System.nanoTime() + Wire.nanos(timeout);
        while (open == 0) {
            long left = TimeUnit.NANOSECONDS.toMillis(deadline - System.nanoTime());
            if (drain.isDone()) {
                throw noExecutor("the worker was shut down", null);
            }
            if (left <= 0) {
                throw noExecutor(refusal, null);
            }
            try {
                wait(left);
            } catch (InterruptedException e) {
                Thread.currentThread().interrupt();
                throw noExecutor("the thread was interrupted: " + refusal, e);
            }
        }
    }

    private GoConductorException noExecutor(String reason, Throwable cause) {
        return GoConductorException.of(ErrorKind.NO_EXECUTOR,
                "no executor accepted a worker of " + service.name() + ": " + reason, cause);
    }

    /**
     * Stops accepting tasks, and waits up to 30 seconds for the tasks in flight.
     *
     * @throws GoConductorException of the kind {@link ErrorKind#TIMEOUT} if tasks are left
     */
    public void shutdown() {
        shutdown(DRAIN_TIMEOUT);
    }

    /**
     * Stops accepting tasks, and waits for the tasks in flight. Tasks that are left are cancelled and retried elsewhere, and
     * the call returns without waiting for their actions.
     *
     * @param timeout how long to wait
     * @throws GoConductorException of the kind {@link ErrorKind#TIMEOUT} if tasks are left
     */
    public void shutdown(Duration timeout) {
        drain();
        try {
            done.get(Wire.nanos(timeout), TimeUnit.NANOSECONDS);
        } catch (TimeoutException e) {
            LOG.warn("the worker of {} gave up tasks at the drain timeout", service.name());
            disconnect();
            throw GoConductorException.of(ErrorKind.TIMEOUT,
                    "the worker of " + service.name() + " gave up tasks in flight after " + timeout.toMillis() + " ms", e);
        } catch (InterruptedException e) {
            disconnect();
            Thread.currentThread().interrupt();
            throw GoConductorException.of(ErrorKind.CANCELLED,
                    "the shutdown of the worker of " + service.name() + " was interrupted", e);
        } catch (ExecutionException e) {
            throw new IllegalStateException(e.getCause());
        }
    }

    /**
     * Disconnects the worker at once. Its tasks in flight are cancelled and retried elsewhere. The call waits for their
     * actions, up to 5 seconds.
     */
    @Override
    public void close() {
        disconnect();
        done.join();
    }

    synchronized void drain() {
        if (drain.complete(null)) {
            ended.add(new Ended(null, false));
            streams.forEach(WorkerStream::drain);
            notifyAll();
        }
    }

    private synchronized void disconnect() {
        drain();
        closed = true;
        streams.forEach(WorkerStream::close);
    }

    private void watchClock() {
        while (!done.isDone()) {
            try {
                done.get(StallDetector.INTERVAL, TimeUnit.NANOSECONDS);
            } catch (TimeoutException e) {
                stalls.tick(System.nanoTime());
            } catch (InterruptedException | ExecutionException e) {
                return;
            }
        }
    }

    /** Keeps streams to executors open. */
    private void run() {
        Phaser running = new Phaser(1);
        Set<String> connected = new HashSet<>();
        Map<String, Integer> refusals = new HashMap<>();
        try {
            while (!drain.isDone()) {
                List<String> executors = discover();
                int count = Math.min(Math.max(1, executors.size()), MAX_STREAMS);
                refusals.keySet().retainAll(executors);
                for (String address : executors) {
                    if (connected.size() >= MAX_STREAMS || !connected.add(address)) {
                        continue;
                    }
                    int capacity = (service.capacity() + count - 1) / count;
                    int refused = refusals.getOrDefault(address, 0);
                    running.register();
                    thread("goconductor-stream-" + service.name(), () -> {
                        boolean opened = false;
                        try {
                            opened = connectTo(address, capacity, refused);
                        } finally {
                            ended.add(new Ended(address, opened));
                            running.arriveAndDeregister();
                        }
                    }).start();
                }
                Ended stream = ended.poll(Wire.jitterMillis(POLL_MILLIS), TimeUnit.MILLISECONDS);
                if (stream != null && stream.address != null) {
                    connected.remove(stream.address);
                    if (stream.opened) {
                        refusals.remove(stream.address);
                    } else {
                        refusals.merge(stream.address, 1, Integer::sum);
                    }
                }
            }
            running.arriveAndAwaitAdvance();
        } catch (InterruptedException e) {
            LOG.warn("the worker of {} was interrupted", service.name());
            disconnect();
        } finally {
            done.complete(null);
        }
    }

    /**
     * Opens a stream to an executor, serves it until it ends, and waits before the next attempt. Returns whether the
     * executor accepted the worker.
     */
    private boolean connectTo(String address, int capacity, int refused) {
        WorkerStream stream = new WorkerStream(this, address, capacity);
        synchronized (this) {
            if (drain.isDone()) {
                return false;
            }
            streams.add(stream);
        }
        try {
            WorkerStream.End end;
            try {
                end = stream.run(() -> count(1));
            } catch (RuntimeException | Error e) {
                LOG.error("the worker of {} failed to connect to {}", service.name(), address, e);
                end = new WorkerStream.End(false, false, e.toString());
            }
            long delay = MIN_RECONNECT_MILLIS;
            if (end.opened()) {
                count(-1);
                LOG.info("the worker of {} disconnected from {}: {}", service.name(), address, end.reason());
            } else {
                LOG.debug("the executor {} refused the worker of {}: {}", address, service.name(), end.reason());
                refuse(address + ": " + end.reason());
                delay = Math.min(MIN_RECONNECT_MILLIS << Math.min(refused + 2, 10), MAX_RECONNECT_MILLIS);
            }
            pause(delay);
            return end.opened();
        } catch (InterruptedException e) {
            return false;
        } finally {
            synchronized (this) {
                streams.remove(stream);
            }
        }
    }

    /** Waits unless the worker drains. */
    private void pause(long millis) throws InterruptedException {
        try {
            drain.get(Wire.jitterMillis(millis), TimeUnit.MILLISECONDS);
        } catch (TimeoutException | ExecutionException e) {
            // The time has passed: the future never ends with a failure.
        }
    }

    private synchronized void count(int change) {
        open += change;
        notifyAll();
    }

    private synchronized void refuse(String reason) {
        refusal = reason;
    }

    /** Returns the addresses of the executors that may accept the worker, in random order. */
    private List<String> discover() {
        List<String> found = new ArrayList<>(client.executors());
        if (found.isEmpty()) {
            try {
                ServiceServiceGrpc.newBlockingStub(client.channel())
                        .withDeadlineAfter(DISCOVER_SECONDS, TimeUnit.SECONDS)
                        .listProcesses(ListProcessesRequest.getDefaultInstance())
                        .getProcessesList().stream()
                        .filter(each -> serves(each, service.name()))
                        .forEach(each -> found.add(client.scheme() + "://" + each.getAddress()));
                if (found.isEmpty()) {
                    refuse("the gateway lists no executor that serves it");
                }
            } catch (RuntimeException e) {
                refuse(GoConductorException.fromStatus(e).getMessage());
            }
        }
        Collections.shuffle(found);
        return found;
    }

    private static boolean serves(Process process, String service) {
        return process.getKind().equals("saga-executor") && accepts(process.getAboutJson(), service);
    }

    /** Returns whether an executor accepts workers of a service, by what it announces. */
    static boolean accepts(String about, String service) {
        try {
            About announced = Codec.decode(about, About.class);
            return announced == null || announced.only == null || announced.only.isEmpty() || announced.only.contains(service);
        } catch (IOException e) {
            return true;
        }
    }
}
