package io.github.goconductor;

/** Starts workflows with a client of the environment, see {@link Client#fromEnvironment()}. */
public final class GoConductor {
    /** The address of a gateway on this machine. */
    public static final String DEFAULT_ADDRESS = "http://127.0.0.1:8470";

    private GoConductor() {}

    /** Holds the client, which is created on first use. */
    private static final class Default {
        static final Client CLIENT = Client.fromEnvironment().build();
    }

    /**
     * Applies a workflow whose steps are functions, and starts it with the default options, see
     * {@link Client#startWorkflow(Workflow, StartOptions)}. The steps run in this program until it ends.
     *
     * @param workflow the workflow
     * @return the started workflow
     */
    public static Handle startWorkflow(Workflow workflow) {
        return startWorkflow(workflow, StartOptions.defaults());
    }

    /**
     * Applies a workflow whose steps are functions, and starts it, see
     * {@link Client#startWorkflow(Workflow, StartOptions)}. The steps run in this program until it ends.
     *
     * @param workflow the workflow
     * @param options the options of the start
     * @return the started workflow
     */
    public static Handle startWorkflow(Workflow workflow, StartOptions options) {
        return Default.CLIENT.startWorkflow(workflow, options);
    }
}
