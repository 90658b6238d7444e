package io.github.goconductor;

import java.util.Map;
import java.util.OptionalInt;
import java.util.TreeMap;

/**
 * The options of a start.
 *
 * @param input the input, which is converted to JSON
 * @param key an idempotency key that is unique in the namespace; empty for none
 * @param labels labels to find the workflow by
 * @param version a version of the definition; empty for the newest
 */
public record StartOptions(Object input, String key, Map<String, String> labels, OptionalInt version) {
    /**
     * Copies the labels.
     *
     * @param input the input, which is converted to JSON
     * @param key an idempotency key that is unique in the namespace
     * @param labels labels to find the workflow by
     * @param version a version of the definition
     */
    public StartOptions {
        labels = Map.copyOf(labels);
    }

    /**
     * Returns the default options: the input {@code {}}, without a key and without labels.
     *
     * @return the options
     */
    public static StartOptions defaults() {
        return new StartOptions(Map.of(), "", Map.of(), OptionalInt.empty());
    }

    /**
     * Returns the default options with an input.
     *
     * @param input the input, which is converted to JSON
     * @return the options
     */
    public static StartOptions of(Object input) {
        return new StartOptions(input, "", Map.of(), OptionalInt.empty());
    }

    /**
     * Returns the options with an input.
     *
     * @param value the input, which is converted to JSON
     * @return the options
     */
    public StartOptions withInput(Object value) {
        return new StartOptions(value, key, labels, version);
    }

    /**
     * Returns the options with an idempotency key. A repeated start returns the existing workflow, so that a start can be
     * retried if its response was lost.
     *
     * @param text the key, unique in the namespace
     * @return the options
     */
    public StartOptions withKey(String text) {
        return new StartOptions(input, text, labels, version);
    }

    /**
     * Returns the options with a label to find the workflow by.
     *
     * @param name the name
     * @param value the value
     * @return the options
     */
    public StartOptions withLabel(String name, String value) {
        Map<String, String> more = new TreeMap<>(labels);
        more.put(name, value);
        return new StartOptions(input, key, more, version);
    }

    /**
     * Returns the options with a version of the definition.
     *
     * @param number the version, from 1
     * @return the options
     */
    public StartOptions withVersion(int number) {
        return new StartOptions(input, key, labels, OptionalInt.of(number));
    }
}
