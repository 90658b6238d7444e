package io.github.goconductor.spring;

import io.github.goconductor.Client;
import io.github.goconductor.GoConductorException;
import io.github.goconductor.Service;
import io.github.goconductor.Worker;
import java.time.Duration;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;
import org.springframework.context.SmartLifecycle;

/** The workers of the services. They connect when the application has started, and drain before its beans are destroyed. */
public final class Workers implements SmartLifecycle {
    private static final Logger LOG = LoggerFactory.getLogger(Workers.class);

    private final Client client;
    private final List<Service> services;
    private final Duration drainTimeout;
    private List<Worker> workers = List.of();

    Workers(Client client, List<Service> services, Duration drainTimeout) {
        this.client = client;
        this.services = services;
        this.drainTimeout = drainTimeout;
    }

    /**
     * Returns the workers.
     *
     * @return the workers; empty before the start
     */
    public synchronized List<Worker> workers() {
        return workers;
    }

    @Override
    public synchronized void start() {
        if (workers.isEmpty()) {
            workers = services.stream().map(client::serve).toList();
        }
    }

    @Override
    public void stop() {
        List<Worker> left;
        synchronized (this) {
            left = workers;
            workers = List.of();
        }
        // All workers drain at the same time. The common pool can have fewer threads.
        List<CompletableFuture<Void>> draining = left.stream().map(each -> CompletableFuture.runAsync(
                () -> drain(each), task -> new Thread(task, "goconductor-drain").start())).toList();
        draining.forEach(CompletableFuture::join);
    }

    private void drain(Worker worker) {
        try {
            worker.shutdown(drainTimeout);
        } catch (GoConductorException e) {
            LOG.warn("a worker did not drain; its tasks are retried", e);
        }
    }

    @Override
    public synchronized boolean isRunning() {
        return !workers.isEmpty();
    }
}
