package io.github.goconductor;

import com.google.protobuf.ByteString;
import io.github.goconductor.v1.ConnectRequest;
import io.github.goconductor.v1.ConnectResponse;
import io.github.goconductor.v1.Done;
import io.github.goconductor.v1.Drain;
import io.github.goconductor.v1.Failure;
import io.github.goconductor.v1.Heartbeat;
import io.github.goconductor.v1.Hello;
import io.github.goconductor.v1.Refused;
import io.github.goconductor.v1.Retryable;
import io.github.goconductor.v1.Task;
import io.github.goconductor.v1.TaskHeartbeat;
import io.github.goconductor.v1.TaskResult;
import io.github.goconductor.v1.Unknown;
import io.github.goconductor.v1.Welcome;
import io.github.goconductor.v1.WorkerServiceGrpc;
import io.grpc.ManagedChannel;
import io.grpc.Status;
import io.grpc.stub.ClientCallStreamObserver;
import io.grpc.stub.ClientResponseObserver;
import java.io.IOException;
import java.net.InetAddress;
import java.net.UnknownHostException;
import java.nio.CharBuffer;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.time.Instant;
import java.util.HashMap;
import java.util.Map;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Future;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;
import org.slf4j.MDC;

/** A stream to one executor. One thread runs it. Tasks run in threads of their own. */
final class WorkerStream {
    private static final Logger LOG = LoggerFactory.getLogger(Worker.class);
    /** The timeout for the executor's welcome. It is also the lease if the welcome has none. */
    private static final long WELCOME_TIMEOUT = TimeUnit.SECONDS.toNanos(5);
    /** The maximum size of an output in bytes, for an executor that does not state it. */
    private static final int DEFAULT_MAX_OUTPUT = 512 << 10;
    /** The maximum number of characters of a code and of a message. */
    private static final int MAX_TEXT = 16 << 10;
    /** The number of heartbeats within a lease, so that two may be lost. */
    private static final int HEARTBEATS_PER_LEASE = 3;
    /** How long a lost stream waits for its tasks, which are cancelled. */
    private static final long CANCEL_TIMEOUT = TimeUnit.SECONDS.toNanos(5);

    /** The end of a stream. */
    record End(boolean opened, boolean drained, String reason) {}

    /** A message of the executor, or the end of the stream. */
    private record Received(ConnectResponse message, Throwable end, long at) {}

    private record Finished(long task) {}

    private enum Request { DRAIN, CLOSE }

    /** The identity of this process. The host name can take seconds to look up. */
    private static final class Identity {
        static final String TEXT = ProcessHandle.current().pid() + "@" + host();

        private static String host() {
            try {
                return InetAddress.getLocalHost().getHostName();
            } catch (UnknownHostException e) {
                return "worker";
            }
        }
    }

    private final Worker worker;
    private final String address;
    private final int capacity;
    /** Has objects of the types {@link Received}, {@link Finished} and {@link Request}. */
    private final BlockingQueue<Object> events = new LinkedBlockingQueue<>();
    private final Map<Long, Attempt> attempts = new HashMap<>();
    private final Map<Long, Future<?>> running = new ConcurrentHashMap<>();
    private final Object sending = new Object();
    private ClientCallStreamObserver<ConnectRequest> wire;
    private volatile boolean lost;
    private long lease = WELCOME_TIMEOUT;
    private int maxOutput = DEFAULT_MAX_OUTPUT;
    private DrainProgress progress = new DrainProgress(false);
    /** The time of the hello. No task was sent before it. */
    private long helloSent;

    WorkerStream(Worker worker, String address, int capacity) {
        this.worker = worker;
        this.address = address;
        this.capacity = Math.max(1, capacity);
    }

    void drain() {
        events.add(Request.DRAIN);
    }

    void close() {
        events.add(Request.CLOSE);
    }

    /** Opens the stream, calls the function and serves the stream until it ends. */
    End run(Runnable onOpen) throws InterruptedException {
        ManagedChannel channel;
        try {
            channel = worker.client().executorChannel(address);
        } catch (GoConductorException e) {
            return new End(false, false, e.getMessage());
        }
        try {
            String refusal = open(channel);
            if (refusal != null) {
                return new End(false, false, refusal);
            }
            onOpen.run();
            End end;
            try {
                end = serve();
            } catch (RuntimeException | Error e) {
                LOG.error("the stream of the service {} failed", worker.service().name(), e);
                end = new End(true, false, "the stream failed: " + e);
            }
            if (end.drained()) {
                // The executor ends the stream when it has read the last result. An earlier end of the connection would
                // lose results that are still in its buffers.
                finish();
                return end;
            }
            lost = true;
            attempts.values().forEach(each -> each.cancel(CancelReason.STREAM_LOST, "the connection to the executor was lost"));
            // Ends the call, so that the executor repeats the tasks at once.
            channel.shutdownNow();
            awaitTasks();
            return end;
        } finally {
            lost = true;
            channel.shutdownNow();
        }
    }

    /** Sends the hello and waits for the welcome. Returns the reason of a refusal. */
    private String open(ManagedChannel channel) throws InterruptedException {
        WorkerServiceGrpc.newStub(channel).connect(new ClientResponseObserver<ConnectRequest, ConnectResponse>() {
            @Override
            public void beforeStart(ClientCallStreamObserver<ConnectRequest> stream) {
                wire = stream;
            }

            @Override
            public void onNext(ConnectResponse message) {
                events.add(new Received(message, null, System.nanoTime()));
            }

            @Override
            public void onError(Throwable failure) {
                lost = true;
                events.add(new Received(null, failure, System.nanoTime()));
            }

            @Override
            public void onCompleted() {
                lost = true;
                events.add(new Received(null, Status.OK.withDescription("the executor closed the stream").asException(),
                        System.nanoTime()));
            }
        });
        Service service = worker.service();
        helloSent = System.nanoTime();
        post(ConnectRequest.newBuilder().setHello(Hello.newBuilder()
                .setService(service.name()).addAllActions(service.actions()).setCapacity(capacity)
                .setVersion(service.version()).setIdentity(Identity.TEXT)).build());
        long deadline = System.nanoTime() + WELCOME_TIMEOUT;
        boolean drain = false;
        while (true) {
            Object event = events.poll(Math.max(0, deadline - System.nanoTime()), TimeUnit.NANOSECONDS);
            if (event == null) {
                return "no welcome within " + Duration.ofNanos(WELCOME_TIMEOUT).toSeconds() + " s";
            }
            if (event == Request.CLOSE) {
                return "the worker was closed";
            }
            drain |= event == Request.DRAIN;
            if (!(event instanceof Received received)) {
                continue;
            }
            if (received.end != null) {
                return GoConductorException.fromStatus(received.end).getMessage();
            }
            if (!received.message.hasWelcome()) {
                return "the executor's first message was not a welcome message";
            }
            Welcome welcome = received.message.getWelcome();
            long stated = Wire.nanos(Wire.duration(welcome.getLease()));
            lease = stated > 0 ? stated : lease;
            long limit = welcome.getMaxOutputBytes();
            // The limit is an unsigned number.
            maxOutput = limit == 0 ? maxOutput : (int) (limit < 0 ? Client.MAX_MESSAGE : Math.min(limit, Client.MAX_MESSAGE));
            progress = new DrainProgress(welcome.getAcknowledgesDrain());
            if (drain) {
                events.add(Request.DRAIN);
            }
            return null;
        }
    }

    /** Handles events until the stream ends. */
    private End serve() throws InterruptedException {
        long last = System.nanoTime();
        long heartbeat = last + lease / HEARTBEATS_PER_LEASE;
        while (true) {
            long now = System.nanoTime();
            long wait = Math.min(heartbeat - now, last + lease - now);
            if (attempts.isEmpty()) {
                wait = Math.min(wait, progress.left(now).orElse(wait));
            }
            Object event = events.poll(Math.max(0, wait), TimeUnit.NANOSECONDS);
            now = System.nanoTime();
            if (event instanceof Received received) {
                if (received.at - last > lease) {
                    // The process was suspended. The executor has given up the stream and its tasks.
                    return expired();
                }
                last = received.at;
                if (received.end != null) {
                    return new End(true, false, reasonOf(received.end));
                }
                handle(received.message, received.at);
            } else if (event instanceof Finished finished) {
                attempts.remove(finished.task);
                running.remove(finished.task);
            } else if (event == Request.DRAIN) {
                post(ConnectRequest.newBuilder().setDrain(Drain.getDefaultInstance()).build());
                progress.workerDrains(now);
            } else if (event == Request.CLOSE) {
                return new End(true, false, "the worker was closed");
            } else if (now - last > lease) {
                return expired();
            }
            if (now - heartbeat >= 0) {
                offer(ConnectRequest.newBuilder().setHeartbeat(Heartbeat.getDefaultInstance()).build());
                heartbeat = now + lease / HEARTBEATS_PER_LEASE;
            }
            if (progress.isComplete(now) && attempts.isEmpty()) {
                return new End(true, true, "the worker drained");
            }
        }
    }

    private static End expired() {
        return new End(true, false, "the executor sent nothing within the lease");
    }

    private static String reasonOf(Throwable end) {
        Status status = Status.fromThrowable(end);
        return status.isOk() ? status.getDescription() : GoConductorException.fromStatus(end).getMessage();
    }

    /** Handles a message. */
    private void handle(ConnectResponse message, long now) {
        switch (message.getMessageCase()) {
            case TASK -> start(message.getTask(), now);
            case CANCEL -> {
                Attempt attempt = attempts.get(message.getCancel().getTaskId());
                if (attempt != null) {
                    attempt.cancel(CancelReason.CANCELLED,
                            "the attempt was cancelled by the executor: " + message.getCancel().getReason());
                }
            }
            case DRAIN -> progress.executorDrains(now);
            case DRAIN_ACK -> progress.acknowledged(now);
            default -> {
                // A heartbeat, or a message of a later version, renews the lease and does no more.
            }
        }
    }

    /** Runs a task in a thread of its own. */
    private void start(Task task, long now) {
        long id = task.getTaskId();
        if (attempts.containsKey(id)) {
            return; // an executor sends a task once in a stream
        }
        long waited = Math.min(worker.stalls().delay(now), now - helloSent);
        long deadline = now + Wire.nanos(timeout(task)) - waited;
        Attempt attempt = new Attempt(worker.service().name(), task, deadline, () -> offer(ConnectRequest.newBuilder()
                .setTaskHeartbeat(TaskHeartbeat.newBuilder().setTaskId(id)).build()));
        attempts.put(id, attempt);
        Future<?> timer = worker.client().scheduler().schedule(
                () -> attempt.cancel(CancelReason.DEADLINE_EXCEEDED, "the deadline of the attempt passed"),
                deadline - System.nanoTime(), TimeUnit.NANOSECONDS);
        running.put(id, worker.client().executor().submit(() -> {
            try {
                // If the result is lost, the task is retried with the same key.
                post(ConnectRequest.newBuilder().setResult(execute(id, attempt)).build());
            } finally {
                timer.cancel(false);
                attempt.end().complete(null);
                events.add(new Finished(id));
            }
        }));
    }

    /** Returns the time until the deadline of a task. The clock of the executor counts only if it does not state it. */
    static Duration timeout(Task task) {
        if (!task.hasTimeout() && task.hasDeadline()) {
            return Duration.between(Instant.now(), Wire.instant(task.getDeadline()));
        }
        return Wire.duration(task.getTimeout());
    }

    private TaskResult execute(long id, Attempt attempt) {
        Map<String, String> outer = MDC.getCopyOfContextMap();
        MDC.put("goconductor.workflow", attempt.workflowId());
        MDC.put("goconductor.step", attempt.step());
        MDC.put("goconductor.service", attempt.service());
        MDC.put("goconductor.action", attempt.action());
        MDC.put("goconductor.attempt", Integer.toString(attempt.number()));
        Attempt.setCurrent(attempt);
        try {
            if (!Codec.isJson(attempt.rawInput())) {
                throw ActionException.retryable("BAD_TASK", "the input of the task is not valid JSON");
            }
            return done(id, worker.service().run(attempt, worker.client().interceptors()), maxOutput);
        } catch (Throwable failure) {
            LOG.debug("action failed", failure);
            return failed(id, failure, maxOutput);
        } finally {
            Attempt.setCurrent(null);
            // An interrupt of this action is not one of the next.
            Thread.interrupted();
            if (outer == null) {
                MDC.clear();
            } else {
                MDC.setContextMap(outer);
            }
        }
    }

    /**
     * Converts the output of a task. A message that the executor does not accept would end the stream with all its tasks.
     * That is why an output that is too large is not sent.
     */
    static TaskResult done(long id, String output, int maxOutput) {
        ByteString text;
        try {
            text = ByteString.copyFrom(StandardCharsets.UTF_8.newEncoder().encode(CharBuffer.wrap(output)));
        } catch (CharacterCodingException e) {
            throw ActionException.unknown("BAD_OUTPUT", "the output has half of a surrogate pair").withCause(e);
        }
        if (text.size() > maxOutput) {
            throw ActionException.unknown("OUTPUT_TOO_LARGE",
                    "the output has " + text.size() + " bytes; the limit is " + maxOutput);
        }
        return TaskResult.newBuilder().setTaskId(id).setDone(Done.newBuilder().setOutputJsonBytes(text)).build();
    }

    /** Converts the failure of a task. */
    static TaskResult failed(long id, Throwable cause, int maxDetail) {
        ActionException action;
        String detail;
        try {
            // Methods of the failure and of its details are called here.
            action = ActionException.of(cause);
            detail = detail(action);
        } catch (RuntimeException | Error e) {
            action = ActionException.unknown("PANICKED", "the failure of the action failed: " + e.getClass().getName());
            detail = "";
        }
        Failure.Builder failure = Failure.newBuilder()
                .setCode(sendable(action.code())).setMessage(sendable(action.description()));
        TaskResult.Builder result = TaskResult.newBuilder().setTaskId(id);
        return switch (action.kind()) {
            case RETRYABLE -> {
                Retryable.Builder retryable = Retryable.newBuilder().setFailure(failure);
                if (action.after().compareTo(Duration.ZERO) > 0) {
                    retryable.setRetryAfter(Wire.duration(action.after()));
                }
                yield result.setRetryable(retryable).build();
            }
            case REFUSED -> {
                ByteString text = ByteString.copyFromUtf8(detail);
                if (text.size() > maxDetail) {
                    failure.setMessage(failure.getMessage() + " [cut: details of " + text.size() + " bytes]");
                } else {
                    failure.setDetailJsonBytes(text);
                }
                yield result.setRefused(Refused.newBuilder().setFailure(failure)).build();
            }
            case UNKNOWN -> result.setUnknown(Unknown.newBuilder().setFailure(failure)).build();
        };
    }

    /** Converts details to JSON. Details that cannot be converted are kept as text. */
    private static String detail(ActionException action) {
        Object detail = action.detail().orElse(null);
        if (detail == null) {
            return "";
        }
        try {
            return Codec.encode(detail);
        } catch (IOException e) {
            return Codec.argument(detail.toString(), "detail");
        }
    }

    /** Returns a text of a limited length. An executor keeps even less. */
    private static String sendable(String text) {
        String cut = text.length() <= MAX_TEXT / 3 ? text : text.substring(0, MAX_TEXT / 3);
        // Replaces halves of surrogate pairs.
        return new String(cut.getBytes(StandardCharsets.UTF_8), StandardCharsets.UTF_8);
    }

    /** Sends a message unless the connection has a backlog. The next heartbeat replaces one that was not sent. */
    private void offer(ConnectRequest request) {
        if (wire.isReady()) {
            post(request);
        }
    }

    private void post(ConnectRequest request) {
        synchronized (sending) {
            if (lost) {
                return;
            }
            try {
                wire.onNext(request);
            } catch (IllegalStateException e) {
                // The call has ended, and an event says why.
                LOG.debug("a message was not sent", e);
            }
        }
    }

    /** Ends the requests, and waits until the executor ends the stream. */
    private void finish() throws InterruptedException {
        synchronized (sending) {
            if (!lost) {
                wire.onCompleted();
            }
        }
        long deadline = System.nanoTime() + lease;
        Object event;
        do {
            event = events.poll(Math.max(0, deadline - System.nanoTime()), TimeUnit.NANOSECONDS);
        } while (event != null && event != Request.CLOSE && !(event instanceof Received received && received.end != null));
    }

    /**
     * Waits for tasks that were cancelled. A task that ignores its cancellation does not keep the worker from connecting
     * again.
     */
    private void awaitTasks() throws InterruptedException {
        long deadline = System.nanoTime() + CANCEL_TIMEOUT;
        for (Future<?> task : running.values()) {
            try {
                task.get(Math.max(0, deadline - System.nanoTime()), TimeUnit.NANOSECONDS);
            } catch (TimeoutException e) {
                LOG.warn("tasks of the service {} ignored their cancellation", worker.service().name());
                return;
            } catch (ExecutionException e) {
                LOG.error("a task of the service {} failed", worker.service().name(), e.getCause());
            }
        }
    }
}
