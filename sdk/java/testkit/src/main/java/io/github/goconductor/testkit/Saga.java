package io.github.goconductor.testkit;

import io.github.goconductor.Attempt;
import io.github.goconductor.Client;
import io.github.goconductor.Description;
import io.github.goconductor.Event;
import io.github.goconductor.GoConductorException;
import io.github.goconductor.Handle;
import io.github.goconductor.Handler;
import io.github.goconductor.Service;
import io.github.goconductor.StartOptions;
import io.github.goconductor.Watch;
import io.github.goconductor.Worker;
import io.github.goconductor.Workflow;
import io.github.goconductor.WorkflowStatus;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.UUID;
import java.util.concurrent.atomic.AtomicBoolean;

/** A saga with its services and the faults to inject. It does not change. Each saga has a namespace of its own. */
public final class Saga {
    private static final Duration RUN_TIMEOUT = Duration.ofMinutes(1);
    /** The interval at which a run checks whether its saga waits for an operator, which is not an event. */
    private static final long POLL_MILLIS = 250;
    /** The interval at which a run checks again whether time may pass. */
    private static final long WAIT_MILLIS = 5;

    private record Injection(Attempts at, Fault fault) {}

    private record Signal(String name, Object payload) {}

    private final TestServer server;
    private final String namespace;
    private final String name;
    private final String definition;
    private final List<Service> services;
    private final List<Injection> injections;
    private final List<Signal> signals;
    private final String cancelAfter;
    private final Duration timeout;

    private Saga(
            TestServer server, String namespace, String name, String definition, List<Service> services,
            List<Injection> injections, List<Signal> signals, String cancelAfter, Duration timeout) {
        this.server = server;
        this.namespace = namespace;
        this.name = name;
        this.definition = definition;
        this.services = services;
        this.injections = injections;
        this.signals = signals;
        this.cancelAfter = cancelAfter;
        this.timeout = timeout;
    }

    /**
     * Returns a saga of a workflow whose steps are functions.
     *
     * @param server the server
     * @param workflow the workflow
     * @return the saga
     */
    public static Saga of(TestServer server, Workflow workflow) {
        return of(server, workflow.definitionName(), workflow.definition().text(), workflow.service());
    }

    /**
     * Returns a saga of a definition, with the services that it names.
     *
     * @param server the server
     * @param name the name of the definition
     * @param definition the definition in YAML or JSON
     * @param services the services
     * @return the saga
     */
    public static Saga of(TestServer server, String name, String definition, Service... services) {
        return new Saga(server, "test-" + UUID.randomUUID(), name, definition, List.of(services), List.of(), List.of(), "",
                RUN_TIMEOUT);
    }

    /**
     * Returns the saga with a fault. Of several faults for one attempt, the one that was added last applies.
     *
     * @param at the attempts
     * @param fault the fault
     * @return the saga
     */
    public Saga inject(Attempts at, Fault fault) {
        return new Saga(server, namespace, name, definition, services, added(injections, new Injection(at, fault)), signals,
                cancelAfter, timeout);
    }

    /**
     * Returns the saga with a signal that is sent at the start. A signal that arrives before its step is kept.
     *
     * @param signal the name of the signal
     * @param payload the payload, which is converted to JSON
     * @return the saga
     */
    public Saga signal(String signal, Object payload) {
        return new Saga(server, namespace, name, definition, services, injections,
                added(signals, new Signal(signal, payload)), cancelAfter, timeout);
    }

    /**
     * Returns the saga with a cancel as soon as a step has completed.
     *
     * @param step the name of the step
     * @return the saga
     */
    public Saga cancelAfter(String step) {
        return new Saga(server, namespace, name, definition, services, injections, signals, step, timeout);
    }

    /**
     * Returns the saga with another time limit of a run (default: one minute).
     *
     * @param limit the limit
     * @return the saga
     */
    public Saga timeout(Duration limit) {
        return new Saga(server, namespace, name, definition, services, injections, signals, cancelAfter, limit);
    }

    private static <T> List<T> added(List<T> list, T item) {
        List<T> copy = new ArrayList<>(list);
        copy.add(item);
        return List.copyOf(copy);
    }

    /** A check of a run with a fault. */
    @FunctionalInterface
    public interface Check {
        /**
         * Checks a run.
         *
         * @param step the step at whose first attempt the fault was injected
         * @param fault the fault
         * @param run the run
         */
        void accept(String step, Fault fault, Run run);
    }

    /**
     * Runs the saga once for each fault at the first attempt to execute each step.
     *
     * @param input the input of the saga
     * @param steps the names of the steps
     * @param check the check of each run
     * @param faults the faults; none means all
     */
    public void everywhere(Object input, List<String> steps, Check check, Fault... faults) {
        for (String step : steps) {
            for (Fault fault : faults.length == 0 ? Fault.values() : faults) {
                check.accept(step, fault, inject(Attempts.onExecute(step), fault).run(input));
            }
        }
    }

    /**
     * Runs the saga to its end, or until it waits for an operator.
     *
     * @param input the input of the saga
     * @return the run
     * @throws AssertionError if the saga does not end in time
     */
    public Run run(Object input) {
        Run run = new Run();
        try (Session session = new Session(run)) {
            session.open();
            Handle handle = session.client.start(name, StartOptions.of(input));
            signals.forEach(each -> handle.signal(each.name, each.payload));
            boolean ended = follow(handle, run);
            run.end(handle.describe());
            if (!ended) {
                throw new AssertionError("the saga did not end within " + timeout.toSeconds() + " s\n" + run.timeline());
            }
        }
        return run;
    }

    /** Waits for the end of the saga, and cancels it if it is to be cancelled. Returns false if it does not end in time. */
    private boolean follow(Handle handle, Run run) {
        AtomicBoolean timedOut = new AtomicBoolean();
        Watch events = handle.watch();
        Thread guard = new Thread(() -> guard(handle, events, timedOut), "goconductor-guard");
        guard.setDaemon(true);
        guard.start();
        Clock clock = new Clock(handle, events);
        if (server.hasVirtualTime()) {
            clock.start();
        }
        try (events) {
            for (Event event : events) {
                run.record(event);
                if (event.type().equals("STEP_COMPLETED") && event.step().equals(cancelAfter)) {
                    handle.cancel("the test cancels after " + cancelAfter);
                    clock.isCancelled = true;
                }
            }
        } finally {
            guard.interrupt();
            clock.end();
        }
        if (clock.failure != null) {
            throw clock.failure;
        }
        return !timedOut.get();
    }

    /**
     * Moves the virtual clock while a saga runs. The clock stands still from the end of the step after which the test cancels
     * the saga until it has.
     */
    private final class Clock extends Thread {
        private final Handle handle;
        private final Watch events;
        private volatile boolean isCancelled;
        private volatile boolean isOver;
        private volatile RuntimeException failure;

        Clock(Handle handle, Watch events) {
            super("goconductor-clock");
            setDaemon(true);
            this.handle = handle;
            this.events = events;
        }

        @Override
        public void run() {
            try {
                while (!isOver) {
                    boolean isIdle = server.toNextDue(Duration.ZERO).result() != ClockMove.Result.BUSY;
                    if (!isIdle || !mayPass(handle.describe()) || isOver
                            || server.toNextDue(null).result() != ClockMove.Result.ADVANCED) {
                        Thread.sleep(WAIT_MILLIS);
                    }
                }
            } catch (InterruptedException e) {
                // The run has ended.
                return;
            } catch (RuntimeException e) {
                if (!isOver) {
                    failure = e;
                    events.close();
                }
            }
        }

        private boolean mayPass(Description described) {
            if (described.status().isFinal() || described.status() == WorkflowStatus.ERROR) {
                return false;
            }
            return isCancelled || described.steps().stream()
                    .noneMatch(each -> each.name().equals(cancelAfter) && each.status().equals("COMPLETED"));
        }

        /** Ends the thread, so that it does not move the clock of a later run. */
        void end() {
            isOver = true;
            interrupt();
            try {
                join();
            } catch (InterruptedException e) {
                Thread.currentThread().interrupt();
            }
        }
    }

    /** Ends the events of a saga that waits for an operator or exceeds its time limit. */
    private void guard(Handle handle, Watch events, AtomicBoolean timedOut) {
        long deadline = System.nanoTime() + timeout.toNanos();
        try {
            while (true) {
                Thread.sleep(POLL_MILLIS);
                timedOut.set(System.nanoTime() - deadline > 0);
                if (timedOut.get() || handle.describe().status() == WorkflowStatus.ERROR) {
                    events.close();
                    return;
                }
            }
        } catch (InterruptedException e) {
            // The events have ended.
            return;
        } catch (GoConductorException e) {
            // The watch reports why the gateway does not respond.
            return;
        }
    }

    /** A client with the workers of a run. */
    private final class Session implements AutoCloseable {
        private final Run run;
        private final Client client;
        private final Map<String, Worker> workers = new HashMap<>();
        private boolean closed;

        Session(Run run) {
            this.run = run;
            client = Client.builder(server.url()).namespace(namespace).intercept(this::intercept).build();
        }

        void open() {
            client.apply(name, definition);
            services.forEach(this::serve);
        }

        private void serve(Service service) {
            Worker worker;
            synchronized (this) {
                if (closed) {
                    return;
                }
                worker = client.serve(service);
                workers.put(service.name(), worker);
            }
            worker.connected();
        }

        /** Records calls and injects faults. */
        private Handler intercept(Handler next) {
            Handler recorded = (attempt, input) -> {
                run.record(attempt);
                return next.handle(attempt, input);
            };
            return (attempt, input) -> {
                Fault fault = faultOf(attempt);
                return fault == null ? recorded.handle(attempt, input)
                        : fault.apply(recorded, attempt, input, () -> crash(attempt.service()));
            };
        }

        private Fault faultOf(Attempt attempt) {
            Fault found = null;
            for (Injection each : injections) {
                found = each.at.matches(attempt) ? each.fault : found;
            }
            return found;
        }

        /** Disconnects the worker of a service, and starts it again. */
        private void crash(String service) {
            Worker worker;
            synchronized (this) {
                worker = workers.get(service);
            }
            Thread restart = new Thread(() -> {
                worker.close();
                try {
                    serve(worker.service());
                } catch (GoConductorException e) {
                    // A run that ends meanwhile has no use for the worker.
                    return;
                }
            }, "goconductor-crash");
            restart.setDaemon(true);
            restart.start();
        }

        @Override
        public void close() {
            List<Worker> left;
            synchronized (this) {
                closed = true;
                left = List.copyOf(workers.values());
            }
            left.forEach(Worker::close);
            client.close();
        }
    }
}
