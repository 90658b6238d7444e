package io.github.goconductor;

import java.time.Duration;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;

/**
 * A saga whose steps are functions. The steps run in order and are compensated in reverse order.
 *
 * @param name the title; "Order Processing" becomes the definition {@code order-processing}, which is also the name of the
 *     service that runs the steps
 * @param steps at least one step
 * @param timeout the limit of the forward part of the workflow; 0 means that it has no limit
 */
public record Workflow(String name, List<WorkflowStep> steps, Duration timeout) {
    /**
     * The number of attempts of a step that sets none. An exception of a function in the program that starts the workflow
     * rarely disappears with time, so it rolls the saga back within seconds.
     */
    private static final int DEFAULT_ATTEMPTS = 5;

    /**
     * Copies the steps.
     *
     * @param name the title
     * @param steps at least one step
     * @param timeout the limit of the forward part of the workflow
     */
    public Workflow {
        steps = List.copyOf(steps);
    }

    /**
     * Returns a workflow without a time limit.
     *
     * @param name the title
     * @param steps at least one step
     */
    public Workflow(String name, WorkflowStep... steps) {
        this(name, List.of(steps), Duration.ZERO);
    }

    /**
     * Returns the name of the definition and of the service, such as {@code order-processing}.
     *
     * @return the name
     */
    public String definitionName() {
        return words(name, "-");
    }

    /**
     * Returns the definition.
     *
     * @return the definition as JSON
     * @throws GoConductorException of the kind {@link ErrorKind#MISUSE} if the workflow or a step is incomplete
     */
    public Json definition() {
        String definition = definitionName();
        if (definition.isEmpty() || steps.isEmpty()) {
            throw GoConductorException.misuse("the workflow \"" + name + "\" must have a name and at least one step");
        }
        List<Map<String, Object>> entries = new ArrayList<>();
        for (WorkflowStep step : steps) {
            String stepName = words(step.name(), "_");
            if (stepName.isEmpty() || step.execute() == null) {
                throw GoConductorException.misuse(
                        "the step \"" + step.name() + "\" must have a name and a function that executes it");
            }
            Map<String, Object> retry = new LinkedHashMap<>();
            retry.put("max_attempts", step.retry().maxAttempts() > 0 ? step.retry().maxAttempts() : DEFAULT_ATTEMPTS);
            putDuration(retry, "initial", step.retry().initial());
            putDuration(retry, "max", step.retry().max());
            Map<String, Object> entry = new LinkedHashMap<>();
            entry.put("name", stepName);
            entry.put("title", step.name());
            entry.put("run", definition + "/" + stepName);
            entry.put("compensate", step.compensate() == null ? "none" : definition + "/undo_" + stepName);
            entry.put("retry", retry);
            putDuration(entry, "timeout", step.timeout());
            entries.add(entry);
        }
        Map<String, Object> document = new LinkedHashMap<>();
        document.put("workflow", definition);
        document.put("title", name);
        putDuration(document, "timeout", timeout);
        document.put("steps", entries);
        return Json.of(document);
    }

    /**
     * Returns the service that runs the steps, to serve it without starting a workflow.
     *
     * @return the service
     * @throws GoConductorException of the kind {@link ErrorKind#MISUSE} if the workflow or a step is incomplete
     */
    public Service service() {
        Service.Builder service = Service.builder(definitionName());
        for (WorkflowStep step : steps) {
            String stepName = words(step.name(), "_");
            service.handle(stepName, handler(step.execute()));
            if (step.compensate() != null) {
                service.handle("undo_" + stepName, handler(step.compensate()));
            }
        }
        return service.build();
    }

    private static Handler handler(StepFunction function) {
        return (attempt, input) -> {
            // A repeat of the handler by an interceptor does not see the output of the first call.
            StepContext step = new StepContext(attempt);
            function.run(step);
            return step.encodedOutput();
        };
    }

    private static void putDuration(Map<String, Object> fields, String field, Duration duration) {
        if (duration.compareTo(Duration.ZERO) > 0) {
            fields.put(field, Math.max(1, duration.toMillis()) + "ms");
        }
    }

    /** Joins the words of a title, in lower case and without other characters than letters and digits of ASCII. */
    private static String words(String title, String separator) {
        String joined = title.replaceAll("[^A-Za-z0-9]+", " ").strip();
        return joined.replace(" ", separator).toLowerCase(Locale.ROOT);
    }
}
