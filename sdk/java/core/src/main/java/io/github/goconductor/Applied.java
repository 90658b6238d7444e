package io.github.goconductor;

import java.util.List;

/**
 * The result of applying a definition.
 *
 * @param name the name of the definition
 * @param version its newest version, from 1
 * @param digest equal for definitions with equal content
 * @param created whether the call created the version
 * @param warnings parts of the definition that are probably mistakes
 */
public record Applied(String name, int version, String digest, boolean created, List<Warning> warnings) {
    /**
     * A part of a definition that was accepted and is probably a mistake.
     *
     * @param code the stable code
     * @param pointer a JSON pointer into the definition
     * @param line the line, from 1
     * @param column the column, from 1
     * @param detail the problem and its correction
     */
    public record Warning(String code, String pointer, int line, int column, String detail) {}
}
