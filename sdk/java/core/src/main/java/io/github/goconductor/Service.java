package io.github.goconductor;

import com.fasterxml.jackson.core.type.TypeReference;
import com.fasterxml.jackson.databind.JavaType;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Deque;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import java.util.concurrent.CompletionStage;
import java.util.concurrent.ExecutionException;
import java.util.regex.Pattern;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/** A microservice: its name and its actions. Build it before it is served. */
public final class Service {
    private static final Logger LOG = LoggerFactory.getLogger(Service.class);
    private static final int DEFAULT_CAPACITY = 64;
    private static final int MAX_SERVICE_NAME = 63;
    private static final int MAX_ACTION_NAME = 128;
    private static final Pattern SERVICE_NAME = Pattern.compile("[a-z0-9](?:[a-z0-9]|-+[a-z0-9])*");
    private static final Pattern ACTION_NAME = Pattern.compile("\\.*[A-Za-z0-9_-][A-Za-z0-9_.-]*");

    private final String name;
    private final String version;
    private final int capacity;
    private final List<Interceptor> interceptors;
    private final Map<String, Entry> actions;

    private Service(Builder builder) {
        name = builder.name;
        version = builder.version;
        capacity = builder.capacity;
        interceptors = List.copyOf(builder.interceptors);
        actions = new TreeMap<>(builder.actions);
    }

    private record Entry(Handler handler, Slots slots) {}

    /**
     * Returns a builder of a service.
     *
     * @param name the first half of {@code run: service/action}
     * @return the builder
     */
    public static Builder builder(String name) {
        return new Builder(name);
    }

    /**
     * Returns the name of the service.
     *
     * @return the name
     */
    public String name() {
        return name;
    }

    /**
     * Returns the names of the actions.
     *
     * @return the names, sorted
     */
    public List<String> actions() {
        return List.copyOf(actions.keySet());
    }

    String version() {
        return version;
    }

    int capacity() {
        return capacity;
    }

    /** Runs an action. */
    String run(Attempt attempt, List<Interceptor> outer) throws Exception {
        Entry entry = actions.get(attempt.action());
        if (entry == null) {
            throw ActionException.retryable("NO_SUCH_ACTION", "the service has no action " + attempt.action());
        }
        boolean limited = entry.slots != null;
        if (limited && !entry.slots.acquire(attempt)) {
            throw ActionException.retryable(
                    "NOT_STARTED", "the attempt ended before the action " + attempt.action() + " had a free slot");
        }
        try {
            if (attempt.isCancelled()) {
                throw ActionException.retryable("NOT_STARTED", "the attempt was cancelled before the action began");
            }
            if (attempt.timeLeft().isZero()) {
                throw ActionException.retryable("NOT_STARTED", "the deadline of the attempt passed before the action began");
            }
            Handler handler = wrapped(wrapped(entry.handler, interceptors), outer);
            String output = handler.handle(attempt, attempt.rawInput());
            return output == null || output.isEmpty() ? "null" : output;
        } catch (Error e) {
            LOG.error("action failed with an error of the program", e);
            throw ActionException.unknown("PANICKED", "the action " + attempt.action() + " failed: " + e).withCause(e);
        } finally {
            if (limited) {
                entry.slots.release();
            }
        }
    }

    private static Handler wrapped(Handler handler, List<Interceptor> interceptors) {
        Handler wrapped = handler;
        for (int index = interceptors.size() - 1; index >= 0; index--) {
            wrapped = interceptors.get(index).intercept(wrapped);
        }
        return wrapped;
    }

    /** The attempts of one action that may be in flight. They begin in the order of their arrival. */
    private static final class Slots {
        private final Deque<CompletableFuture<Void>> waiting = new ArrayDeque<>();
        private int free;

        Slots(int limit) {
            free = limit;
        }

        /** Returns false if the attempt was cancelled before its turn. */
        boolean acquire(Attempt attempt) {
            CompletableFuture<Void> turn = new CompletableFuture<>();
            synchronized (this) {
                if (free > 0) {
                    free--;
                    return true;
                }
                waiting.add(turn);
            }
            // Either a release gives the slot to this attempt, or the attempt gives up its turn.
            attempt.onCancel(() -> turn.cancel(false));
            try {
                turn.join();
                return true;
            } catch (java.util.concurrent.CancellationException e) {
                return false;
            }
        }

        void release() {
            while (true) {
                CompletableFuture<Void> next;
                synchronized (this) {
                    next = waiting.poll();
                    if (next == null) {
                        free++;
                        return;
                    }
                }
                if (next.complete(null)) {
                    return;
                }
            }
        }
    }

    /** Builds a {@link Service}. */
    public static final class Builder {
        private final String name;
        private final List<Interceptor> interceptors = new ArrayList<>();
        private final Map<String, Entry> actions = new TreeMap<>();
        private String version = "";
        private int capacity = DEFAULT_CAPACITY;

        private Builder(String name) {
            this.name = name;
        }

        /**
         * Sets how many attempts of each side may be in flight (default: 64).
         *
         * @param attempts the number, at least 1
         * @return this builder
         */
        public Builder capacity(int attempts) {
            capacity = Math.max(1, attempts);
            return this;
        }

        /**
         * Sets the version of the microservice, which executors log.
         *
         * @param text the version
         * @return this builder
         */
        public Builder version(String text) {
            version = text;
            return this;
        }

        /**
         * Adds an interceptor around all actions. The first one is the outermost.
         *
         * @param interceptor the interceptor
         * @return this builder
         */
        public Builder intercept(Interceptor interceptor) {
            interceptors.add(interceptor);
            return this;
        }

        /**
         * Adds an action that receives and returns JSON.
         *
         * @param action the second half of {@code run: service/action}
         * @param handler the handler
         * @return this builder
         */
        public Builder handle(String action, Handler handler) {
            if (actions.putIfAbsent(action, new Entry(handler, null)) != null) {
                throw GoConductorException.misuse("the service " + name + " has the action " + action + " twice");
            }
            return this;
        }

        /**
         * Limits the attempts of one action in flight in this worker. An attempt that waits for its turn beyond its deadline
         * is not started and is retried.
         *
         * @param action an action that was added
         * @param limit the number of attempts, at least 1
         * @return this builder
         */
        public Builder maxInFlight(String action, int limit) {
            Entry entry = actions.get(action);
            if (entry == null) {
                throw GoConductorException.misuse("the service " + name + " has no action " + action + ": add it before its limit");
            }
            actions.put(action, new Entry(entry.handler, new Slots(Math.max(1, limit))));
            return this;
        }

        /**
         * Adds the action of {@code run: service/action}. An input that cannot be decoded is refused with the code
         * {@code BAD_INPUT}.
         *
         * @param <I> the type of the input
         * @param <O> the type of the output
         * @param action the name of the action
         * @param input the class of the input
         * @param execute the action
         * @return this builder
         */
        public <I, O> Builder action(String action, Class<I> input, Action<? super I, ? extends O> execute) {
            return typed(action, Codec.type(input), execute);
        }

        /**
         * Adds an action like {@link #action(String, Class, Action)}, for a generic type.
         *
         * @param <I> the type of the input
         * @param <O> the type of the output
         * @param action the name of the action
         * @param input the type of the input
         * @param execute the action
         * @return this builder
         */
        public <I, O> Builder action(String action, TypeReference<I> input, Action<? super I, ? extends O> execute) {
            return typed(action, Codec.type(input), execute);
        }

        private <I, O> Builder typed(String action, JavaType type, Action<? super I, ? extends O> execute) {
            return handle(action, (attempt, text) -> {
                I input = Codec.input(text, type);
                return Codec.output(execute.run(attempt, input));
            });
        }

        /**
         * Adds an action whose output arrives later. The worker keeps a thread for each attempt in flight.
         *
         * @param <I> the type of the input
         * @param <O> the type of the output
         * @param action the name of the action
         * @param input the class of the input
         * @param execute the action
         * @return this builder
         */
        public <I, O> Builder actionAsync(String action, Class<I> input, AsyncAction<? super I, O> execute) {
            return action(action, input, (attempt, value) -> await(attempt, execute.run(attempt, value)));
        }

        private static <O> O await(Attempt attempt, CompletionStage<O> stage) throws Exception {
            CompletableFuture<O> future = stage.toCompletableFuture();
            attempt.onCancel(() -> future.cancel(true));
            try {
                return future.get();
            } catch (ExecutionException | CompletionException e) {
                if (e.getCause() instanceof Exception cause) {
                    throw cause;
                }
                throw e;
            } catch (java.util.concurrent.CancellationException e) {
                attempt.throwIfCancelled();
                throw e;
            }
        }

        /**
         * Adds the action of {@code compensate: service/action}. It must succeed if there is nothing to undo.
         *
         * @param <I> the type of the input of the step
         * @param <O> the type of the output of the step
         * @param action the name of the action
         * @param input the class of the input of the step
         * @param output the class of the output of the step
         * @param compensate the compensation
         * @return this builder
         */
        public <I, O> Builder compensation(
                String action, Class<I> input, Class<O> output, Compensation<I, O> compensate) {
            return compensation(action, Codec.type(input), Codec.type(output), compensate);
        }

        private <I, O> Builder compensation(
                String action, JavaType input, JavaType output, Compensation<I, O> compensate) {
            return handle(action, (attempt, text) -> {
                CompensationInput<I, O> undo = Codec.undo(text, input, output);
                compensate.run(attempt, undo);
                return "null";
            });
        }

        /**
         * Adds an action and its compensation, which receives the input and the output of the action. The compiler checks
         * that their types match.
         *
         * @param <I> the type of the input
         * @param <O> the type of the output
         * @param input the class of the input
         * @param output the class of the output
         * @param action the name of the action
         * @param execute the action
         * @param compensation the name of the compensation
         * @param compensate the compensation
         * @return this builder
         */
        public <I, O> Builder pair(
                Class<I> input, Class<O> output,
                String action, Action<? super I, ? extends O> execute,
                String compensation, Compensation<I, O> compensate) {
            action(action, input, execute);
            return compensation(compensation, input, output, compensate);
        }

        /**
         * Adds an action and its compensation like {@link #pair(Class, Class, String, Action, String, Compensation)}, for
         * generic types.
         *
         * @param <I> the type of the input
         * @param <O> the type of the output
         * @param input the type of the input
         * @param output the type of the output
         * @param action the name of the action
         * @param execute the action
         * @param compensation the name of the compensation
         * @param compensate the compensation
         * @return this builder
         */
        public <I, O> Builder pair(
                TypeReference<I> input, TypeReference<O> output,
                String action, Action<? super I, ? extends O> execute,
                String compensation, Compensation<I, O> compensate) {
            action(action, input, execute);
            return compensation(compensation, Codec.type(input), Codec.type(output), compensate);
        }

        /**
         * Adds the action of {@code probe: service/action}. It has the input and the idempotency key of the step, and answers
         * whether the operation of the step happened. It must have no effect.
         *
         * @param <I> the type of the input of the step
         * @param <O> the type of the output of the step
         * @param action the name of the action
         * @param input the class of the input of the step
         * @param probe the probe
         * @return this builder
         */
        public <I, O> Builder probe(String action, Class<I> input, Action<? super I, ProbeAnswer<O>> probe) {
            return action(action, input, probe);
        }

        /**
         * Builds the service.
         *
         * @return the service
         * @throws GoConductorException of the kind {@link ErrorKind#MISUSE} if a name is invalid or if there are no actions
         */
        public Service build() {
            if (name.length() > MAX_SERVICE_NAME || !SERVICE_NAME.matcher(name).matches()) {
                throw GoConductorException.misuse("\"" + name + "\" is not a name of a service: use up to " + MAX_SERVICE_NAME
                        + " lower-case letters, digits and hyphens, without a hyphen at the beginning and the end");
            }
            if (actions.isEmpty()) {
                throw GoConductorException.misuse("the service " + name + " must have at least one action");
            }
            for (String action : actions.keySet()) {
                if (action.length() > MAX_ACTION_NAME || !ACTION_NAME.matcher(action).matches()) {
                    throw GoConductorException.misuse("\"" + action + "\" is not a name of an action: use up to "
                            + MAX_ACTION_NAME + " letters, digits, dots, hyphens and underscores");
                }
            }
            return new Service(this);
        }
    }
}
