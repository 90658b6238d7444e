package io.github.goconductor;

import io.github.goconductor.v1.FollowEventsRequest;
import io.github.goconductor.v1.FollowEventsResponse;
import io.github.goconductor.v1.WorkflowServiceGrpc;
import io.grpc.Context;
import io.grpc.StatusRuntimeException;
import java.time.Duration;
import java.util.Iterator;
import java.util.NoSuchElementException;

/**
 * The events of a workflow, as they happen. It can be iterated over once, by one thread. {@link #close()} can be called by
 * another thread, and ends the iteration.
 */
public final class Watch implements Iterable<Event>, Iterator<Event>, AutoCloseable {
    /** A duration after which a stream was not refused. An attempt to connect is shorter. */
    private static final Duration STANDING = Duration.ofSeconds(30);

    private final Client client;
    private final Handle handle;
    private final Context.CancellableContext context = Context.ROOT.withCancellation();
    private Handle.Retries retries = new Handle.Retries();
    private Iterator<FollowEventsResponse> stream;
    private long opened;
    private long last;
    private Event next;
    private boolean ended;

    Watch(Client client, Handle handle) {
        this.client = client;
        this.handle = handle;
    }

    /**
     * Returns this object.
     *
     * @return the iterator
     */
    @Override
    public Iterator<Event> iterator() {
        return this;
    }

    /**
     * Waits for the next event.
     *
     * @return false after the last event, and if the watch was closed
     * @throws GoConductorException if the events cannot be read
     */
    @Override
    public boolean hasNext() {
        while (next == null && !ended && !context.isCancelled()) {
            try {
                if (stream == null) {
                    opened = System.nanoTime();
                    FollowEventsRequest request =
                            FollowEventsRequest.newBuilder().setId(handle.id()).setAfterSeq(last).build();
                    stream = context.wrap(() -> WorkflowServiceGrpc.newBlockingStub(client.channel()).followEvents(request))
                            .call();
                }
                if (stream.hasNext()) {
                    accept(Event.of(stream.next().getEvent()));
                } else {
                    resume(null);
                }
            } catch (StatusRuntimeException e) {
                resume(GoConductorException.fromStatus(e));
            } catch (RuntimeException e) {
                throw e;
            } catch (Exception e) {
                throw GoConductorException.of(ErrorKind.OTHER, "the events cannot be read", e);
            }
        }
        return next != null;
    }

    private void accept(Event event) {
        if (event.seq() > last) {
            last = event.seq();
            retries = new Handle.Retries();
            next = event;
        }
    }

    /** Decides what follows the end of a stream. */
    private void resume(GoConductorException failure) {
        stream = null;
        if (context.isCancelled()) {
            return;
        }
        if (System.nanoTime() - opened > STANDING.toNanos()) {
            retries = new Handle.Retries();
        }
        GoConductorException reason = failure;
        if (reason == null) {
            // The stream ends with the last event, or with the gateway.
            try {
                Description workflow = handle.describe();
                if (workflow.status().isFinal() && workflow.seq() <= last) {
                    ended = true;
                    return;
                }
                reason = GoConductorException.unreachable("the stream of events ended");
            } catch (GoConductorException e) {
                reason = e;
            }
        }
        long delay = retries.next(reason);
        if (delay < 0) {
            ended = true;
            throw reason;
        }
        try {
            Thread.sleep(delay);
        } catch (InterruptedException e) {
            ended = true;
            Thread.currentThread().interrupt();
            throw GoConductorException.of(ErrorKind.CANCELLED, "the thread was interrupted during a call", e);
        }
    }

    /**
     * Returns the next event, and waits for it.
     *
     * @return the event
     */
    @Override
    public Event next() {
        if (!hasNext()) {
            throw new NoSuchElementException();
        }
        Event event = next;
        next = null;
        return event;
    }

    /** Ends the stream of events. */
    @Override
    public void close() {
        context.cancel(null);
    }
}
