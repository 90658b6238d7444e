package io.github.goconductor;

import io.github.goconductor.v1.ApplyDefinitionRequest;
import io.github.goconductor.v1.ApplyDefinitionResponse;
import io.github.goconductor.v1.BackfillScheduleRequest;
import io.github.goconductor.v1.BackfillScheduleResponse;
import io.github.goconductor.v1.DefinitionFormat;
import io.github.goconductor.v1.DefinitionServiceGrpc;
import io.github.goconductor.v1.DeleteScheduleRequest;
import io.github.goconductor.v1.DeleteScheduleResponse;
import io.github.goconductor.v1.GetScheduleRequest;
import io.github.goconductor.v1.GetScheduleResponse;
import io.github.goconductor.v1.ListDueTimesRequest;
import io.github.goconductor.v1.ListDueTimesResponse;
import io.github.goconductor.v1.ListSchedulesRequest;
import io.github.goconductor.v1.ListSchedulesResponse;
import io.github.goconductor.v1.ListWorkflowsRequest;
import io.github.goconductor.v1.ListWorkflowsResponse;
import io.github.goconductor.v1.PauseScheduleRequest;
import io.github.goconductor.v1.PauseScheduleResponse;
import io.github.goconductor.v1.PutScheduleRequest;
import io.github.goconductor.v1.PutScheduleResponse;
import io.github.goconductor.v1.ResumeScheduleRequest;
import io.github.goconductor.v1.ResumeScheduleResponse;
import io.github.goconductor.v1.ScheduleServiceGrpc;
import io.github.goconductor.v1.StartWorkflowRequest;
import io.github.goconductor.v1.StartWorkflowResponse;
import io.github.goconductor.v1.TriggerScheduleRequest;
import io.github.goconductor.v1.TriggerScheduleResponse;
import io.github.goconductor.v1.WorkflowServiceGrpc;
import io.grpc.CallCredentials;
import io.grpc.CallOptions;
import io.grpc.Channel;
import io.grpc.ClientCall;
import io.grpc.ClientInterceptor;
import io.grpc.Grpc;
import io.grpc.InsecureChannelCredentials;
import io.grpc.ManagedChannel;
import io.grpc.ManagedChannelBuilder;
import io.grpc.Metadata;
import io.grpc.MethodDescriptor;
import io.grpc.Status;
import io.grpc.stub.ClientCallStreamObserver;
import io.grpc.stub.ClientResponseObserver;
import io.grpc.stub.MetadataUtils;
import io.grpc.stub.StreamObserver;
import java.nio.file.Path;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.Iterator;
import java.util.List;
import java.util.Map;
import java.util.NoSuchElementException;
import java.util.Objects;
import java.util.Spliterator;
import java.util.Spliterators;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Executor;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.ScheduledThreadPoolExecutor;
import java.util.concurrent.ThreadFactory;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicReference;
import java.util.function.Consumer;
import java.util.function.Function;
import java.util.function.Supplier;
import java.util.stream.Stream;
import java.util.stream.StreamSupport;

/** A client of GoConductor: it starts workflows and connects services. It is safe for concurrent use. */
public final class Client implements AutoCloseable {
    /** The maximum size of a message. It exceeds every limit of the server. */
    static final int MAX_MESSAGE = 64 << 20;
    private static final Duration DEFAULT_CALL_TIMEOUT = Duration.ofSeconds(30);
    // The intervals of pings, and the timeouts of a ping. Without pings, a stream of events would not notice that the
    // machine of the gateway is gone. The library sends none more often than each 10 seconds.
    private static final Duration GATEWAY_KEEP_ALIVE = Duration.ofSeconds(30);
    private static final Duration GATEWAY_TIMEOUT = Duration.ofSeconds(10);
    private static final Duration EXECUTOR_KEEP_ALIVE = Duration.ofSeconds(10);
    private static final Duration EXECUTOR_TIMEOUT = Duration.ofSeconds(2);
    /** Limits the retries of a start while the gateway is overloaded. */
    private static final Duration START_TIMEOUT = Duration.ofMinutes(1);
    /** The delay of a retry if the gateway sets none. */
    private static final Duration OVERLOAD_DELAY = Duration.ofSeconds(1);
    /** The time after which a thread without timers ends. */
    private static final Duration TIMER_IDLE = Duration.ofSeconds(5);
    private static final Metadata.Key<String> NAMESPACE =
            Metadata.Key.of("goconductor-namespace", Metadata.ASCII_STRING_MARSHALLER);
    private static final Metadata.Key<String> AUTHORIZATION =
            Metadata.Key.of("authorization", Metadata.ASCII_STRING_MARSHALLER);

    private final Builder settings;
    private final Endpoint gateway;
    private final ManagedChannel channel;
    private final ExecutorService executor = Executors.newCachedThreadPool(daemons("goconductor-action"));
    private final ScheduledThreadPoolExecutor scheduler =
            new ScheduledThreadPoolExecutor(1, daemons("goconductor-timer"));

    // Guarded by the monitor of this object.
    /** The workers of workflows whose steps are functions, by service. */
    private final Map<String, Worker> workers = new HashMap<>();
    private boolean closed;

    private Client(Builder builder) {
        settings = builder;
        gateway = Endpoint.parse(builder.address);
        if (builder.files != null && !gateway.secure()) {
            throw GoConductorException.misuse(
                    "the files of TLS have no effect for " + builder.address + ": use the scheme https");
        }
        for (String each : builder.executors) {
            if (Endpoint.parse(each).secure() != gateway.secure()) {
                throw GoConductorException.misuse("the address " + each
                        + " of an executor must have the scheme of the gateway, " + builder.address);
            }
        }
        scheduler.setRemoveOnCancelPolicy(true);
        // The thread of an idle or closed client ends. The timers of its workers start another.
        scheduler.setKeepAliveTime(TIMER_IDLE.toMillis(), TimeUnit.MILLISECONDS);
        scheduler.allowCoreThreadTimeOut(true);
        channel = open(gateway, true, Tls.GATEWAY, GATEWAY_KEEP_ALIVE, GATEWAY_TIMEOUT, builder.grpcInterceptors);
    }

    private static ThreadFactory daemons(String name) {
        return task -> {
            Thread thread = new Thread(task, name);
            thread.setDaemon(true);
            return thread;
        };
    }

    /**
     * Returns a client of a gateway, with the default settings. It sends no request.
     *
     * @param address a URL such as {@code http://127.0.0.1:8470}
     * @return the client
     * @throws GoConductorException of the kind {@link ErrorKind#MISUSE} if the URL is invalid
     */
    public static Client connect(String address) {
        return builder(address).build();
    }

    /**
     * Returns a builder of a client.
     *
     * @param address the URL of the gateway, such as {@code http://127.0.0.1:8470}
     * @return the builder
     */
    public static Builder builder(String address) {
        return new Builder(address);
    }

    /**
     * Returns a builder with the settings of the command line: {@code GOCONDUCTOR_SERVER} (default:
     * {@link GoConductor#DEFAULT_ADDRESS}), {@code GOCONDUCTOR_NAMESPACE}, {@code GOCONDUCTOR_TOKEN}, and
     * {@code GOCONDUCTOR_CA}, {@code GOCONDUCTOR_CERT} and {@code GOCONDUCTOR_KEY}.
     *
     * @return the builder
     */
    public static Builder fromEnvironment() {
        return fromEnvironment(System.getenv());
    }

    static Builder fromEnvironment(Map<String, String> environment) {
        Function<String, String> read = name -> {
            String value = environment.get("GOCONDUCTOR_" + name);
            return value == null || value.isEmpty() ? null : value;
        };
        String server = read.apply("SERVER");
        Builder builder = builder(server == null ? GoConductor.DEFAULT_ADDRESS : server);
        if (read.apply("NAMESPACE") != null) {
            builder.namespace(read.apply("NAMESPACE"));
        }
        if (read.apply("TOKEN") != null) {
            builder.token(read.apply("TOKEN"));
        }
        Path[] files = Stream.of("CA", "CERT", "KEY").map(read).map(each -> each == null ? null : Path.of(each))
                .toArray(Path[]::new);
        if (files[0] != null || files[1] != null || files[2] != null) {
            builder.tls(new TlsFiles(files[0], files[1], files[2]));
        }
        return builder;
    }

    private ManagedChannel open(
            Endpoint to, boolean byName, String role, Duration keepAlive, Duration timeout, List<ClientInterceptor> more) {
        Metadata headers = new Metadata();
        headers.put(NAMESPACE, settings.namespace);
        List<ClientInterceptor> interceptors = new ArrayList<>(more);
        interceptors.add(new CallSettings());
        interceptors.add(MetadataUtils.newAttachHeadersInterceptor(headers));
        ManagedChannelBuilder<?> builder = Grpc.newChannelBuilderForAddress(to.host(), to.port(), to.secure()
                ? Tls.credentials(settings.files == null ? TlsFiles.authorities(null) : settings.files, byName, role)
                : InsecureChannelCredentials.create());
        return builder
                .maxInboundMessageSize(MAX_MESSAGE)
                .keepAliveTime(keepAlive.toMillis(), TimeUnit.MILLISECONDS)
                .keepAliveTimeout(timeout.toMillis(), TimeUnit.MILLISECONDS)
                // The library calls the interceptors in the reverse order.
                .intercept(reversed(interceptors))
                .build();
    }

    private static <T> List<T> reversed(List<T> list) {
        List<T> copy = new ArrayList<>(list);
        java.util.Collections.reverse(copy);
        return copy;
    }

    /** Limits calls without a deadline, and adds the token. */
    private final class CallSettings implements ClientInterceptor {
        @Override
        public <Q, R> ClientCall<Q, R> interceptCall(MethodDescriptor<Q, R> method, CallOptions options, Channel next) {
            CallOptions call = options;
            if (method.getType() == MethodDescriptor.MethodType.UNARY && call.getDeadline() == null) {
                call = call.withDeadlineAfter(settings.callTimeout.toMillis(), TimeUnit.MILLISECONDS);
            }
            if (settings.token != null) {
                call = call.withCallCredentials(new Token());
            }
            return next.newCall(method, call);
        }
    }

    private final class Token extends CallCredentials {
        @Override
        public void applyRequestMetadata(RequestInfo request, Executor on, MetadataApplier applier) {
            on.execute(() -> {
                try {
                    Metadata headers = new Metadata();
                    headers.put(AUTHORIZATION,
                            "Bearer " + Objects.requireNonNull(settings.token.get(), "the function returned null"));
                    applier.apply(headers);
                } catch (RuntimeException | Error e) {
                    applier.fail(Status.UNAUTHENTICATED.withCause(e)
                            .withDescription("failed to obtain the token of a call: " + e.getMessage()));
                }
            });
        }
    }

    /**
     * Returns the gRPC channel of the gateway, for calls that this class does not offer. It carries the namespace and the
     * token.
     *
     * @return the channel
     */
    public Channel channel() {
        return channel;
    }

    ManagedChannel executorChannel(String address) {
        return open(Endpoint.parse(address), false, Tls.EXECUTOR, EXECUTOR_KEEP_ALIVE, EXECUTOR_TIMEOUT, List.of());
    }

    List<String> executors() {
        return settings.executors;
    }

    List<Interceptor> interceptors() {
        return settings.interceptors;
    }

    String scheme() {
        return gateway.secure() ? "https" : "http";
    }

    ExecutorService executor() {
        return executor;
    }

    ScheduledThreadPoolExecutor scheduler() {
        return scheduler;
    }

    /** Begins a unary call. A cancelled future cancels the call. */
    static <Q, R> CompletableFuture<R> call(Consumer<StreamObserver<R>> begin) {
        CompletableFuture<R> response = new CompletableFuture<>();
        AtomicReference<ClientCallStreamObserver<Q>> call = new AtomicReference<>();
        begin.accept(new ClientResponseObserver<Q, R>() {
            @Override
            public void beforeStart(ClientCallStreamObserver<Q> stream) {
                call.set(stream);
            }

            @Override
            public void onNext(R value) {
                response.complete(value);
            }

            @Override
            public void onError(Throwable failure) {
                response.completeExceptionally(GoConductorException.fromStatus(failure));
            }

            @Override
            public void onCompleted() {
                response.completeExceptionally(
                        GoConductorException.of(ErrorKind.OTHER, "the gateway ended a call without a response", null));
            }
        });
        response.whenComplete((value, failure) -> {
            if (response.isCancelled()) {
                call.get().cancel("the caller cancelled the call", null);
            }
        });
        return response;
    }

    /** Begins a unary call whose response is converted. A cancelled future cancels the call. */
    static <Q, R, T> CompletableFuture<T> call(Consumer<StreamObserver<R>> begin, Function<R, T> convert) {
        CompletableFuture<R> call = Client.<Q, R>call(begin);
        CompletableFuture<T> converted = new CompletableFuture<>();
        call.whenComplete((response, failure) -> {
            if (failure != null) {
                converted.completeExceptionally(failure);
                return;
            }
            try {
                converted.complete(convert.apply(response));
            } catch (RuntimeException e) {
                converted.completeExceptionally(e);
            }
        });
        converted.whenComplete((value, failure) -> {
            if (converted.isCancelled()) {
                call.cancel(true);
            }
        });
        return converted;
    }

    /** Waits for a future. */
    static <T> T await(CompletableFuture<T> future) {
        try {
            return future.get();
        } catch (InterruptedException e) {
            future.cancel(true);
            Thread.currentThread().interrupt();
            throw GoConductorException.of(ErrorKind.CANCELLED, "the thread was interrupted during a call", e);
        } catch (ExecutionException e) {
            throw atCaller(e);
        }
    }

    static GoConductorException atCaller(ExecutionException failure) {
        return failure.getCause() instanceof GoConductorException known
                ? known.atCaller() : GoConductorException.fromStatus(failure.getCause());
    }

    /**
     * Connects a service to the executors as a worker, until the worker is shut down or closed.
     *
     * @param service the service
     * @return the worker
     */
    public Worker serve(Service service) {
        Worker worker = new Worker(this, service);
        worker.start();
        return worker;
    }

    /**
     * Serves services until the process is asked to end or the thread is interrupted, and then finishes the tasks in flight
     * for up to 30 seconds.
     *
     * @param services the services
     * @throws GoConductorException of the kind {@link ErrorKind#TIMEOUT} if the thread was interrupted and tasks are left
     */
    public void run(Service... services) {
        List<Worker> serving = Stream.of(services).map(this::serve).toList();
        CountDownLatch ended = new CountDownLatch(1);
        Thread hook = new Thread(() -> {
            try {
                drain(serving);
            } finally {
                ended.countDown();
            }
        }, "goconductor-drain");
        Runtime.getRuntime().addShutdownHook(hook);
        try {
            ended.await();
        } catch (InterruptedException e) {
            try {
                Runtime.getRuntime().removeShutdownHook(hook);
            } catch (IllegalStateException stopping) {
                // The hook drains the workers.
                Thread.currentThread().interrupt();
                return;
            }
            try {
                drain(serving);
            } finally {
                Thread.currentThread().interrupt();
            }
        }
    }

    /** Shuts workers down within one limit. All stop accepting tasks before the first one is waited for. */
    private static void drain(List<Worker> serving) {
        serving.forEach(Worker::drain);
        long deadline = System.nanoTime() + Worker.DRAIN_TIMEOUT.toNanos();
        GoConductorException first = null;
        for (Worker each : serving) {
            try {
                each.shutdown(Duration.ofNanos(Math.max(0, deadline - System.nanoTime())));
            } catch (GoConductorException e) {
                if (first == null) {
                    first = e;
                } else {
                    first.addSuppressed(e);
                }
            }
        }
        if (first != null) {
            throw first;
        }
    }

    /**
     * Applies and starts a workflow whose steps are functions. The steps run in this program until the client is closed. The
     * functions are those of the first call with this name, so that they must get what differs between workflows from
     * {@link StepContext#input}, and not from variables that they capture.
     *
     * @param workflow the workflow
     * @param options the options of the start
     * @return the started workflow
     * @throws GoConductorException of the kind {@link ErrorKind#MISUSE} if the workflow is incomplete, and of the kind
     *     {@link ErrorKind#NO_EXECUTOR} if no executor accepts the worker within 30 seconds
     */
    public Handle startWorkflow(Workflow workflow, StartOptions options) {
        String name = workflow.definitionName();
        Applied applied = apply(name, workflow.definition().text());
        serveOnce(workflow).connected();
        return start(name, options.version().isPresent() ? options : options.withVersion(applied.version()));
    }

    /** Returns the worker of a workflow, and starts it on the first call. */
    private synchronized Worker serveOnce(Workflow workflow) {
        if (closed) {
            throw GoConductorException.misuse("the client is closed");
        }
        String name = workflow.definitionName();
        Service service = workflow.service();
        Worker known = workers.get(name);
        if (known == null) {
            known = serve(service);
            workers.put(name, known);
        } else if (!known.service().actions().equals(service.actions())) {
            throw GoConductorException.misuse(
                    "the client already serves a workflow " + name + " with other steps; use another name");
        }
        return known;
    }

    /**
     * Applies a definition. Equal content changes nothing, and changed content becomes the next version.
     *
     * @param name the name of the definition
     * @param definition the definition in YAML or JSON
     * @return the result
     * @throws GoConductorException of the kind {@link ErrorKind#INVALID}, with every problem, if the definition is invalid
     */
    public Applied apply(String name, String definition) {
        return await(applyAsync(name, definition, false));
    }

    /**
     * Applies a definition, see {@link #apply}.
     *
     * @param name the name of the definition
     * @param definition the definition in YAML or JSON
     * @return the future result
     */
    public CompletableFuture<Applied> applyAsync(String name, String definition) {
        return applyAsync(name, definition, false);
    }

    /**
     * Checks a definition without storing it.
     *
     * @param name the name of the definition
     * @param definition the definition in YAML or JSON
     * @return the result
     * @throws GoConductorException of the kind {@link ErrorKind#INVALID}, with every problem, if the definition is invalid
     */
    public Applied validate(String name, String definition) {
        return await(validateAsync(name, definition));
    }

    /**
     * Checks a definition without storing it, see {@link #validate}.
     *
     * @param name the name of the definition
     * @param definition the definition in YAML or JSON
     * @return the future result
     */
    public CompletableFuture<Applied> validateAsync(String name, String definition) {
        return applyAsync(name, definition, true);
    }

    private CompletableFuture<Applied> applyAsync(String name, String definition, boolean dryRun) {
        ApplyDefinitionRequest request = ApplyDefinitionRequest.newBuilder().setName(name).setSource(definition)
                .setFormat(Codec.isJson(definition)
                        ? DefinitionFormat.DEFINITION_FORMAT_JSON : DefinitionFormat.DEFINITION_FORMAT_YAML)
                .setDryRun(dryRun).build();
        return Client.<ApplyDefinitionRequest, ApplyDefinitionResponse, Applied>call(
                observer -> DefinitionServiceGrpc.newStub(channel).applyDefinition(request, observer),
                response -> new Applied(
                        response.getName(), response.getVersion(), response.getDigest(), response.getCreated(),
                        response.getWarningsList().stream().map(each -> new Applied.Warning(each.getCode(),
                                each.getPointer(), each.getLine(), each.getColumn(), each.getDetail())).toList()));
    }

    /**
     * Starts a workflow with the default options, see {@link #start(String, StartOptions)}.
     *
     * @param definition the name of the definition
     * @return the started workflow
     */
    public Handle start(String definition) {
        return start(definition, StartOptions.defaults());
    }

    /**
     * Starts a workflow of an applied definition. While the gateway is overloaded, the start is retried after the delay that
     * the gateway requests, for up to a minute. A start whose response was lost may have taken effect: use
     * {@link StartOptions#withKey} to retry it.
     *
     * @param definition the name of the definition
     * @param options the options
     * @return the started workflow
     */
    public Handle start(String definition, StartOptions options) {
        return await(startAsync(definition, options));
    }

    /**
     * Starts a workflow, see {@link #start(String, StartOptions)}.
     *
     * @param definition the name of the definition
     * @param options the options
     * @return the future workflow; a cancelled start may have taken effect
     */
    public CompletableFuture<Handle> startAsync(String definition, StartOptions options) {
        StartWorkflowRequest.Builder request = StartWorkflowRequest.newBuilder()
                .setDefinition(definition).setInputJson(Codec.argument(options.input(), "input"))
                .setIdempotencyKey(options.key()).putAllLabels(options.labels());
        options.version().ifPresent(request::setVersion);
        CompletableFuture<Handle> started = new CompletableFuture<>();
        start(request.build(), started, System.nanoTime() + START_TIMEOUT.toNanos());
        return started;
    }

    private void start(StartWorkflowRequest request, CompletableFuture<Handle> started, long deadline) {
        if (started.isDone()) {
            return; // the caller cancelled the start during the delay of a retry
        }
        CompletableFuture<StartWorkflowResponse> call = Client.<StartWorkflowRequest, StartWorkflowResponse>call(
                observer -> WorkflowServiceGrpc.newStub(channel).startWorkflow(request, observer));
        started.whenComplete((handle, failure) -> call.cancel(false));
        call.whenComplete((response, failure) -> {
            if (failure == null) {
                started.complete(new Handle(this, response.getWorkflow().getId(), response.getReplayed()));
                return;
            }
            GoConductorException described = GoConductorException.fromStatus(failure);
            // A start that was refused because of overload had no effect.
            Duration delay = described.retryDelay().isZero() ? OVERLOAD_DELAY : described.retryDelay();
            if (described.kind() != ErrorKind.OVERLOADED || System.nanoTime() + delay.toNanos() - deadline > 0) {
                started.completeExceptionally(described);
            } else {
                scheduler.schedule(() -> start(request, started, deadline), delay.toMillis(), TimeUnit.MILLISECONDS);
            }
        });
    }

    /**
     * Returns a handle of an existing workflow. It sends no request.
     *
     * @param id the id of the workflow
     * @return the handle
     */
    public Handle workflow(String id) {
        return new Handle(this, id, false);
    }

    /**
     * Returns workflows, newest first, without their input, output and steps. The stream calls the gateway once for each
     * page.
     *
     * @param filter a filter, such as {@code status = ERROR AND created_at > "-24h"}; empty for all workflows
     * @return the workflows
     */
    public Stream<Description> list(String filter) {
        return list(filter, 0);
    }

    /**
     * Returns workflows like {@link #list(String)}, in pages of a size.
     *
     * @param filter the filter; empty for all workflows
     * @param pageSize the number of workflows that one call returns, from 1 to 1000; 0 for the default of the server
     * @return the workflows
     */
    public Stream<Description> list(String filter, int pageSize) {
        return pages(token -> {
            ListWorkflowsRequest request = ListWorkflowsRequest.newBuilder()
                    .setFilter(filter).setPageSize(pageSize).setPageToken(token).build();
            ListWorkflowsResponse page = await(Client.<ListWorkflowsRequest, ListWorkflowsResponse>call(
                    observer -> WorkflowServiceGrpc.newStub(channel).listWorkflows(request, observer)));
            return new Page<>(page.getWorkflowsList().stream().map(Description::of).toList(), page.getNextPageToken());
        });
    }

    private record Page<T>(List<T> items, String next) {}

    /** Returns the items of pages, which are read when they are needed. */
    private static <T> Stream<T> pages(Function<String, Page<T>> read) {
        Iterator<T> items = new Iterator<>() {
            private Page<T> page = read.apply("");
            private int index;

            @Override
            public boolean hasNext() {
                while (index == page.items.size() && !page.next.isEmpty()) {
                    page = read.apply(page.next);
                    index = 0;
                }
                return index < page.items.size();
            }

            @Override
            public T next() {
                if (!hasNext()) {
                    throw new NoSuchElementException();
                }
                return page.items.get(index++);
            }
        };
        return StreamSupport.stream(
                Spliterators.spliteratorUnknownSize(items, Spliterator.ORDERED | Spliterator.NONNULL), false);
    }

    /**
     * Creates or replaces a schedule.
     *
     * @param name the name
     * @param spec the definition that it starts, and its due times
     * @return the schedule
     */
    public Schedule putSchedule(String name, ScheduleSpec spec) {
        return await(putScheduleAsync(name, spec));
    }

    /**
     * Creates or replaces a schedule.
     *
     * @param name the name
     * @param spec the definition that it starts, and its due times
     * @return the future schedule
     */
    public CompletableFuture<Schedule> putScheduleAsync(String name, ScheduleSpec spec) {
        PutScheduleRequest request = PutScheduleRequest.newBuilder().setName(name).setSpec(spec.wire()).build();
        return Client.<PutScheduleRequest, PutScheduleResponse, Schedule>call(
                observer -> scheduleStub().putSchedule(request, observer), response -> Schedule.of(response.getSchedule()));
    }

    /**
     * Returns a schedule with the statuses of its newest workflows.
     *
     * @param name the name
     * @return the schedule
     */
    public Schedule schedule(String name) {
        return await(scheduleAsync(name));
    }

    /**
     * Returns a schedule with the statuses of its newest workflows.
     *
     * @param name the name
     * @return the future schedule
     */
    public CompletableFuture<Schedule> scheduleAsync(String name) {
        GetScheduleRequest request = GetScheduleRequest.newBuilder().setName(name).build();
        return Client.<GetScheduleRequest, GetScheduleResponse, Schedule>call(
                observer -> scheduleStub().getSchedule(request, observer), response -> Schedule.of(response.getSchedule()));
    }

    /**
     * Returns the schedules of the namespace, ordered by name.
     *
     * @return the schedules
     */
    public Stream<Schedule> schedules() {
        return pages(token -> {
            ListSchedulesRequest request = ListSchedulesRequest.newBuilder().setPageToken(token).build();
            ListSchedulesResponse page = await(Client.<ListSchedulesRequest, ListSchedulesResponse>call(
                    observer -> scheduleStub().listSchedules(request, observer)));
            return new Page<>(page.getSchedulesList().stream().map(Schedule::of).toList(), page.getNextPageToken());
        });
    }

    /**
     * Deletes a schedule. Its workflows continue.
     *
     * @param name the name
     */
    public void deleteSchedule(String name) {
        await(deleteScheduleAsync(name));
    }

    /**
     * Deletes a schedule. Its workflows continue.
     *
     * @param name the name
     * @return the future end of the call
     */
    public CompletableFuture<Void> deleteScheduleAsync(String name) {
        DeleteScheduleRequest request = DeleteScheduleRequest.newBuilder().setName(name).build();
        return Client.<DeleteScheduleRequest, DeleteScheduleResponse, Void>call(
                observer -> scheduleStub().deleteSchedule(request, observer), response -> null);
    }

    /**
     * Pauses a schedule: only a trigger then starts a workflow.
     *
     * @param name the name
     * @param reason the reason, for people
     */
    public void pauseSchedule(String name, String reason) {
        await(pauseScheduleAsync(name, reason));
    }

    /**
     * Pauses a schedule: only a trigger then starts a workflow.
     *
     * @param name the name
     * @param reason the reason, for people
     * @return the future end of the call
     */
    public CompletableFuture<Void> pauseScheduleAsync(String name, String reason) {
        PauseScheduleRequest request = PauseScheduleRequest.newBuilder().setName(name).setReason(reason).build();
        return Client.<PauseScheduleRequest, PauseScheduleResponse, Void>call(
                observer -> scheduleStub().pauseSchedule(request, observer), response -> null);
    }

    /**
     * Resumes a paused schedule. Due times during the pause are skipped.
     *
     * @param name the name
     * @param reason the reason, for people
     */
    public void resumeSchedule(String name, String reason) {
        await(resumeScheduleAsync(name, reason));
    }

    /**
     * Resumes a paused schedule. Due times during the pause are skipped.
     *
     * @param name the name
     * @param reason the reason, for people
     * @return the future end of the call
     */
    public CompletableFuture<Void> resumeScheduleAsync(String name, String reason) {
        ResumeScheduleRequest request = ResumeScheduleRequest.newBuilder().setName(name).setReason(reason).build();
        return Client.<ResumeScheduleRequest, ResumeScheduleResponse, Void>call(
                observer -> scheduleStub().resumeSchedule(request, observer), response -> null);
    }

    /**
     * Starts a workflow of a schedule now, regardless of its overlap policy.
     *
     * @param name the name
     * @return the started workflow
     */
    public Handle triggerSchedule(String name) {
        return await(triggerScheduleAsync(name));
    }

    /**
     * Starts a workflow of a schedule now, regardless of its overlap policy.
     *
     * @param name the name
     * @return the future workflow
     */
    public CompletableFuture<Handle> triggerScheduleAsync(String name) {
        TriggerScheduleRequest request = TriggerScheduleRequest.newBuilder().setName(name).build();
        return Client.<TriggerScheduleRequest, TriggerScheduleResponse, Handle>call(
                observer -> scheduleStub().triggerSchedule(request, observer),
                response -> workflow(response.getWorkflowId()));
    }

    /**
     * Starts the due times of a past range, both ends included, regardless of the overlap policy.
     *
     * @param name the name
     * @param from the begin of the range
     * @param until the end of the range
     */
    public void backfillSchedule(String name, Instant from, Instant until) {
        await(backfillScheduleAsync(name, from, until));
    }

    /**
     * Starts the due times of a past range, both ends included, regardless of the overlap policy.
     *
     * @param name the name
     * @param from the begin of the range
     * @param until the end of the range
     * @return the future end of the call
     */
    public CompletableFuture<Void> backfillScheduleAsync(String name, Instant from, Instant until) {
        BackfillScheduleRequest request = BackfillScheduleRequest.newBuilder().setName(name)
                .setFrom(Wire.timestamp(from)).setUntil(Wire.timestamp(until)).build();
        return Client.<BackfillScheduleRequest, BackfillScheduleResponse, Void>call(
                observer -> scheduleStub().backfillSchedule(request, observer), response -> null);
    }

    /**
     * Returns the next due times of a schedule.
     *
     * @param name the name
     * @param count the number of due times, at most 1000
     * @return the due times
     */
    public List<Instant> dueTimes(String name, int count) {
        return await(dueTimesAsync(name, count));
    }

    /**
     * Returns the next due times of a schedule.
     *
     * @param name the name
     * @param count the number of due times, at most 1000
     * @return the future due times
     */
    public CompletableFuture<List<Instant>> dueTimesAsync(String name, int count) {
        ListDueTimesRequest request = ListDueTimesRequest.newBuilder().setName(name).setCount(count).build();
        return Client.<ListDueTimesRequest, ListDueTimesResponse, List<Instant>>call(
                observer -> scheduleStub().listDueTimes(request, observer),
                response -> response.getDueTimesList().stream().map(Wire::instant).toList());
    }

    private ScheduleServiceGrpc.ScheduleServiceStub scheduleStub() {
        return ScheduleServiceGrpc.newStub(channel);
    }

    /**
     * Ends the connection and disconnects the workers of {@link #startWorkflow}. Their tasks in flight are retried. Shut the
     * workers of {@link #serve} down first: without the connection they discover no executors.
     */
    @Override
    public void close() {
        List<Worker> serving;
        synchronized (this) {
            closed = true;
            serving = List.copyOf(workers.values());
            workers.clear();
        }
        serving.forEach(Worker::close);
        channel.shutdownNow();
        try {
            // Threads of the connection would otherwise outlive the client for a moment.
            channel.awaitTermination(1, TimeUnit.SECONDS);
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
    }

    /** The address of a gateway or of an executor. */
    record Endpoint(String host, int port, boolean secure) {
        private static final int MAX_PORT = 65_535;

        /** Parses a URL such as http://127.0.0.1:8470. */
        static Endpoint parse(String text) {
            java.net.URI uri;
            try {
                uri = new java.net.URI(text);
            } catch (java.net.URISyntaxException e) {
                throw invalid(text);
            }
            boolean secure = "https".equals(uri.getScheme());
            if (uri.getHost() == null || !secure && !"http".equals(uri.getScheme())) {
                throw invalid(text);
            }
            if (uri.getUserInfo() != null || uri.getQuery() != null || !uri.getPath().isEmpty() && !uri.getPath().equals("/")) {
                throw GoConductorException.misuse("the address of " + uri.getHost()
                        + " must have no credentials, no path and no query: use a URL such as http://127.0.0.1:8470");
            }
            String host = uri.getHost().startsWith("[")
                    ? uri.getHost().substring(1, uri.getHost().length() - 1) : uri.getHost();
            if (uri.getPort() == 0 || uri.getPort() > MAX_PORT) {
                throw invalid(text);
            }
            int standard = secure ? 443 : 80;
            return new Endpoint(host, uri.getPort() < 0 ? standard : uri.getPort(), secure);
        }

        private static GoConductorException invalid(String text) {
            return GoConductorException.misuse(
                    "\"" + text + "\" is not an address: use a URL such as http://127.0.0.1:8470");
        }
    }

    /** Builds a {@link Client}. */
    public static final class Builder {
        private final String address;
        private final List<Interceptor> interceptors = new ArrayList<>();
        private final List<ClientInterceptor> grpcInterceptors = new ArrayList<>();
        private String namespace = "default";
        private Supplier<String> token;
        private TlsFiles files;
        private List<String> executors = List.of();
        private Duration callTimeout = DEFAULT_CALL_TIMEOUT;

        private Builder(String address) {
            this.address = address;
        }

        private Builder(Builder other) {
            address = other.address;
            interceptors.addAll(other.interceptors);
            grpcInterceptors.addAll(other.grpcInterceptors);
            namespace = other.namespace;
            token = other.token;
            files = other.files;
            executors = other.executors;
            callTimeout = other.callTimeout;
        }

        /**
         * Selects the namespace (default: {@code default}).
         *
         * @param name the name of the namespace
         * @return this builder
         */
        public Builder namespace(String name) {
            namespace = name;
            return this;
        }

        /**
         * Sends an access key, or a token of the identity provider, with each call and with the stream of each worker.
         *
         * @param text the token
         * @return this builder
         */
        public Builder token(String text) {
            return token(() -> text);
        }

        /**
         * Calls a function for the token of each call, for tokens that expire.
         *
         * @param source the function, which must be fast, and safe for concurrent use
         * @return this builder
         */
        public Builder token(Supplier<String> source) {
            token = source;
            return this;
        }

        /**
         * Sets the files of TLS for a gateway whose URL has the scheme https. Executors are connected with the same files.
         *
         * @param tls the files
         * @return this builder
         */
        public Builder tls(TlsFiles tls) {
            files = tls;
            return this;
        }

        /**
         * Sets the executors that workers connect to (default: the executors that the gateway lists).
         *
         * @param addresses URLs such as {@code http://127.0.0.1:8472}
         * @return this builder
         */
        public Builder executors(List<String> addresses) {
            executors = List.copyOf(addresses);
            return this;
        }

        /**
         * Adds an interceptor around the actions of all services, outside those of the services.
         *
         * @param interceptor the interceptor
         * @return this builder
         */
        public Builder intercept(Interceptor interceptor) {
            interceptors.add(interceptor);
            return this;
        }

        /**
         * Adds an interceptor of the gRPC calls to the gateway.
         *
         * @param interceptor the interceptor
         * @return this builder
         */
        public Builder interceptCalls(ClientInterceptor interceptor) {
            grpcInterceptors.add(interceptor);
            return this;
        }

        /**
         * Limits calls (default: 30 seconds). It does not limit {@link Handle#result()} and {@link Handle#watch()}.
         *
         * @param timeout the limit
         * @return this builder
         */
        public Builder callTimeout(Duration timeout) {
            callTimeout = timeout;
            return this;
        }

        /**
         * Builds the client. It sends no request.
         *
         * @return the client
         * @throws GoConductorException of the kind {@link ErrorKind#MISUSE} if the URL or a setting is invalid
         */
        public Client build() {
            return new Client(new Builder(this));
        }
    }
}
