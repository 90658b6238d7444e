package io.github.goconductor;

import io.github.goconductor.v1.CancelWorkflowRequest;
import io.github.goconductor.v1.CancelWorkflowResponse;
import io.github.goconductor.v1.GetResultRequest;
import io.github.goconductor.v1.GetResultResponse;
import io.github.goconductor.v1.GetWorkflowRequest;
import io.github.goconductor.v1.GetWorkflowResponse;
import io.github.goconductor.v1.ListEventsRequest;
import io.github.goconductor.v1.ListEventsResponse;
import io.github.goconductor.v1.SignalWorkflowRequest;
import io.github.goconductor.v1.SignalWorkflowResponse;
import io.github.goconductor.v1.WorkflowServiceGrpc;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.concurrent.atomic.AtomicReference;

/** A workflow that was started. */
public final class Handle {
    /** The duration of one long poll. */
    private static final Duration POLL = Duration.ofSeconds(30);
    /** The time after a poll within which its response must arrive. */
    private static final Duration POLL_MARGIN = Duration.ofSeconds(10);
    /** The number of events that one call returns. */
    private static final int EVENT_PAGE = 1000;

    private final Client client;
    private final String id;
    private final boolean replayed;

    Handle(Client client, String id, boolean replayed) {
        this.client = client;
        this.id = id;
        this.replayed = replayed;
    }

    /**
     * Returns the id of the workflow.
     *
     * @return the id
     */
    public String id() {
        return id;
    }

    /**
     * Returns whether an earlier start with the same key started the workflow.
     *
     * @return true if it did
     */
    public boolean replayed() {
        return replayed;
    }

    /**
     * Waits until the workflow ends.
     *
     * @return the result
     * @throws GoConductorException of the kind {@link ErrorKind#NOT_FOUND} if the workflow does not exist, and of the kind
     *     {@link ErrorKind#UNREACHABLE} if the gateway cannot be reached for a minute
     */
    public Result result() {
        return Client.await(resultAsync());
    }

    /**
     * Waits until the workflow ends.
     *
     * @param timeout how long to wait
     * @return the result
     * @throws GoConductorException of the kind {@link ErrorKind#TIMEOUT} if the workflow does not end in time, and as
     *     {@link #result()} does
     */
    public Result result(Duration timeout) {
        CompletableFuture<Result> result = resultAsync();
        try {
            return result.get(Wire.nanos(timeout), TimeUnit.NANOSECONDS);
        } catch (TimeoutException e) {
            result.cancel(true);
            throw GoConductorException.of(ErrorKind.TIMEOUT,
                    "the workflow " + id + " did not end within " + timeout.toMillis() + " ms", e);
        } catch (InterruptedException e) {
            result.cancel(true);
            Thread.currentThread().interrupt();
            throw GoConductorException.of(ErrorKind.CANCELLED, "the thread was interrupted during a call", e);
        } catch (ExecutionException e) {
            throw Client.atCaller(e);
        }
    }

    /**
     * Returns the future end of the workflow, see {@link #result()}.
     *
     * @return the future result; cancel it to stop waiting
     */
    public CompletableFuture<Result> resultAsync() {
        CompletableFuture<Result> result = new CompletableFuture<>();
        AtomicReference<CompletableFuture<?>> call = new AtomicReference<>();
        result.whenComplete((value, failure) -> {
            if (result.isCancelled() && call.get() != null) {
                call.get().cancel(true);
            }
        });
        poll(result, call, new Retries());
        return result;
    }

    private void poll(CompletableFuture<Result> result, AtomicReference<CompletableFuture<?>> running, Retries retries) {
        if (result.isDone()) {
            return;
        }
        GetResultRequest request = GetResultRequest.newBuilder().setId(id).setWait(Wire.duration(POLL)).build();
        CompletableFuture<GetResultResponse> call = Client.<GetResultRequest, GetResultResponse>call(
                observer -> WorkflowServiceGrpc.newStub(client.channel())
                        .withDeadlineAfter(POLL.plus(POLL_MARGIN).toMillis(), TimeUnit.MILLISECONDS)
                        .getResult(request, observer));
        running.set(call);
        if (result.isDone()) {
            call.cancel(true);
        }
        call.whenComplete((response, failure) -> {
            try {
                if (failure != null) {
                    GoConductorException described = GoConductorException.fromStatus(failure);
                    long delay = retries.next(described);
                    if (delay < 0) {
                        result.completeExceptionally(described);
                    } else {
                        client.scheduler().schedule(
                                () -> poll(result, running, retries), delay, TimeUnit.MILLISECONDS);
                    }
                } else if (response.getEnded()) {
                    Description ended = Description.of(response.getWorkflow());
                    result.complete(new Result(ended.status(), ended.cause(), ended.output(), ended.failure()));
                } else {
                    poll(result, running, new Retries());
                }
            } catch (RuntimeException e) {
                result.completeExceptionally(e);
            }
        });
    }

    /** The retries of a read while the gateway is unavailable. */
    static final class Retries {
        /** The time after which an unavailable gateway is given up. */
        private static final Duration TIMEOUT = Duration.ofMinutes(1);
        private static final long MIN_MILLIS = 100;
        private static final long MAX_MILLIS = 2000;
        /** Is set by the first failure. A stream can stand for hours before it fails. */
        private long began;
        private long delay = MIN_MILLIS;

        /** Returns the delay before the next retry in milliseconds, and -1 if the read must not be retried. */
        long next(GoConductorException failure) {
            if (!failure.isRetryable() && failure.kind() != ErrorKind.OVERLOADED) {
                return -1;
            }
            long now = System.nanoTime();
            began = began == 0 ? now : began;
            if (now - began > TIMEOUT.toNanos()) {
                return -1;
            }
            long wait = Wire.jitterMillis(delay);
            delay = Math.min(2 * delay, MAX_MILLIS);
            return wait;
        }
    }

    /**
     * Returns the current state of the workflow.
     *
     * @return the state
     */
    public Description describe() {
        return Client.await(describeAsync());
    }

    /**
     * Returns the current state of the workflow.
     *
     * @return the future state
     */
    public CompletableFuture<Description> describeAsync() {
        GetWorkflowRequest request = GetWorkflowRequest.newBuilder().setId(id).build();
        return Client.<GetWorkflowRequest, GetWorkflowResponse, Description>call(
                observer -> WorkflowServiceGrpc.newStub(client.channel()).getWorkflow(request, observer),
                response -> Description.of(response.getWorkflow()));
    }

    /**
     * Requests a rollback of the workflow.
     *
     * @param reason the reason, for people
     * @throws GoConductorException of the kind {@link ErrorKind#CONFLICT} if the workflow has ended or its pivot has
     *     completed
     */
    public void cancel(String reason) {
        Client.await(cancelAsync(reason));
    }

    /**
     * Requests a rollback of the workflow, see {@link #cancel}.
     *
     * @param reason the reason, for people
     * @return the future end of the call
     */
    public CompletableFuture<Void> cancelAsync(String reason) {
        CancelWorkflowRequest request = CancelWorkflowRequest.newBuilder().setId(id).setReason(reason).build();
        return Client.<CancelWorkflowRequest, CancelWorkflowResponse, Void>call(
                observer -> WorkflowServiceGrpc.newStub(client.channel()).cancelWorkflow(request, observer),
                response -> null);
    }

    /**
     * Sends a signal to the workflow. A signal that arrives early is kept until a step waits for it.
     *
     * @param name the name of the signal
     * @param payload the payload, which is converted to JSON
     */
    public void signal(String name, Object payload) {
        signal(name, payload, "");
    }

    /**
     * Sends a signal to the workflow, with a key by which a repeat of the same signal is recognised.
     *
     * @param name the name of the signal
     * @param payload the payload, which is converted to JSON
     * @param key the key; empty for none
     */
    public void signal(String name, Object payload, String key) {
        Client.await(signalAsync(name, payload, key));
    }

    /**
     * Sends a signal to the workflow, see {@link #signal(String, Object, String)}.
     *
     * @param name the name of the signal
     * @param payload the payload, which is converted to JSON
     * @param key the key; empty for none
     * @return the future end of the call
     */
    public CompletableFuture<Void> signalAsync(String name, Object payload, String key) {
        SignalWorkflowRequest request = SignalWorkflowRequest.newBuilder().setId(id).setName(name)
                .setPayloadJson(Codec.argument(payload, "payload")).setIdempotencyKey(key).build();
        return Client.<SignalWorkflowRequest, SignalWorkflowResponse, Void>call(
                observer -> WorkflowServiceGrpc.newStub(client.channel()).signalWorkflow(request, observer),
                response -> null);
    }

    /**
     * Returns the events of the workflow as they happen: in order, each once, until the last. After a broken connection it
     * resumes after the last event.
     *
     * @return the events, which end when they are closed
     */
    public Watch watch() {
        return new Watch(client, this);
    }

    /**
     * Returns all events after a number, in order. It calls the gateway once for each 1000 events.
     *
     * @param after the number; 0 for all events
     * @return the events
     */
    public List<Event> events(long after) {
        List<Event> events = new ArrayList<>();
        long last = after;
        while (true) {
            ListEventsRequest request =
                    ListEventsRequest.newBuilder().setId(id).setAfterSeq(last).setPageSize(EVENT_PAGE).build();
            ListEventsResponse page = Client.await(Client.<ListEventsRequest, ListEventsResponse>call(
                    observer -> WorkflowServiceGrpc.newStub(client.channel()).listEvents(request, observer)));
            page.getEventsList().stream().map(Event::of).forEach(events::add);
            if (page.getEventsCount() < EVENT_PAGE) {
                return events;
            }
            last = events.get(events.size() - 1).seq();
        }
    }
}
