package io.github.goconductor;

/** Wraps the handlers of actions, for example to log, to measure or to authorise. */
@FunctionalInterface
public interface Interceptor {
    /**
     * Wraps a handler. It is called for each attempt.
     *
     * @param next the handler to wrap
     * @return the handler that runs instead
     */
    Handler intercept(Handler next);
}
