package io.github.goconductor.testkit;

import io.github.goconductor.Attempt;
import io.github.goconductor.Description;
import io.github.goconductor.Event;
import io.github.goconductor.Operation;
import io.github.goconductor.WorkflowStatus;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collections;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;

/** A saga that was run. The messages of its assertions have the history of the saga. */
public final class Run {
    /** The statuses of a step that may have had an effect. A failed step had none. */
    private static final Set<String> MAY_STAND = Set.of("COMPLETED", "UNKNOWN", "COMPENSATION_FAILED");

    /**
     * A call of an action.
     *
     * @param step the name of the step
     * @param operation the side of the step
     * @param attempt the number of the attempt, from 1
     * @param key the idempotency key
     * @param input the JSON that the action received
     */
    public record Call(String step, Operation operation, int attempt, String key, String input) {}

    private final List<Call> calls = Collections.synchronizedList(new ArrayList<>());
    private final List<Event> events = new ArrayList<>();
    private Description description;

    Run() {}

    void record(Attempt attempt) {
        calls.add(new Call(attempt.step(), attempt.operation(), attempt.number(), attempt.key(), attempt.rawInput()));
    }

    void record(Event event) {
        events.add(event);
    }

    void end(Description end) {
        description = end;
    }

    /**
     * Returns the state of the saga at the end.
     *
     * @return the state
     */
    public Description description() {
        return description;
    }

    /**
     * Returns the calls of actions.
     *
     * @return the calls, in order
     */
    public List<Call> calls() {
        synchronized (calls) {
            return List.copyOf(calls);
        }
    }

    /**
     * Returns the history.
     *
     * @return the events, in order
     */
    public List<Event> events() {
        return List.copyOf(events);
    }

    /**
     * Returns the steps that completed.
     *
     * @return the names, in order
     */
    public List<String> executed() {
        return steps("STEP_COMPLETED");
    }

    /**
     * Returns the steps that were compensated.
     *
     * @return the names, in order
     */
    public List<String> compensated() {
        return steps("STEP_COMPENSATED");
    }

    private List<String> steps(String type) {
        return events.stream().filter(each -> each.type().equals(type)).map(Event::step).toList();
    }

    /**
     * Returns the steps that may have had an effect which remains, although the saga did not complete. A step without a
     * compensation has nothing to undo.
     *
     * @return the names
     */
    public List<String> standing() {
        if (description.status() == WorkflowStatus.COMPLETED) {
            return List.of();
        }
        return description.steps().stream()
                .filter(each -> MAY_STAND.contains(each.status()) && !each.compensate().isEmpty())
                .map(Description.StepDescription::name).toList();
    }

    /**
     * Returns the history as text.
     *
     * @return one event per line
     */
    public String timeline() {
        StringBuilder lines = new StringBuilder();
        for (Event event : events) {
            long after = Duration.between(events.get(0).time(), event.time()).toMillis();
            lines.append(String.format("%4d +%d ms %s %s %s%n", event.seq(), after, event.type(), event.step(), event.detail()));
        }
        return lines.toString();
    }

    /**
     * Asserts the status at the end.
     *
     * @param expected the status
     * @return this run
     */
    public Run assertStatus(WorkflowStatus expected) {
        return check(description.status() == expected,
                "the saga ended " + description.status() + ", and " + expected + " was expected");
    }

    /**
     * Asserts which steps completed, in order.
     *
     * @param expected the names of the steps
     * @return this run
     */
    public Run assertExecuted(String... expected) {
        return check(executed().equals(List.of(expected)),
                "the saga executed " + executed() + ", and " + List.of(expected) + " was expected");
    }

    /**
     * Asserts which steps were compensated, in order.
     *
     * @param expected the names of the steps
     * @return this run
     */
    public Run assertCompensated(String... expected) {
        return check(compensated().equals(List.of(expected)),
                "the saga compensated " + compensated() + ", and " + List.of(expected) + " was expected");
    }

    /**
     * Asserts that the saga completed, or that every step that may have had an effect was compensated.
     *
     * @return this run
     */
    public Run assertNothingStands() {
        return check(standing().isEmpty(), "the effects of " + standing() + " remain");
    }

    /**
     * Asserts that the attempts of each side of each step had one idempotency key.
     *
     * @return this run
     */
    public Run assertSameKeys() {
        Map<String, String> keys = new HashMap<>();
        for (Call call : calls()) {
            String side = call.step() + "/" + call.operation();
            String known = keys.putIfAbsent(side, call.key());
            check(known == null || known.equals(call.key()),
                    side + " was called with the keys " + known + " and " + call.key());
        }
        return this;
    }

    private Run check(boolean holds, String message) {
        if (!holds) {
            throw new AssertionError(message + "\n" + timeline());
        }
        return this;
    }
}
