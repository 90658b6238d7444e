package io.github.goconductor;

/** The status of a workflow. */
public enum WorkflowStatus {
    /** It waits for its first step. */
    QUEUED,
    /** Its steps are executed. */
    IN_PROGRESS,
    /** Its steps are compensated. */
    ROLLING_BACK,
    /** An operator paused it. */
    PAUSED,
    /** It waits for an operator. */
    ERROR,
    /** Every step completed. */
    COMPLETED,
    /** Every step that may have taken effect was compensated. */
    ROLLED_BACK,
    /** An operator ended it. */
    TERMINATED,
    /** A status that this version of the SDK does not know. */
    UNRECOGNIZED;

    /**
     * Returns whether the workflow has ended.
     *
     * @return true if it has
     */
    public boolean isFinal() {
        return this == COMPLETED || this == ROLLED_BACK || this == TERMINATED;
    }

    static WorkflowStatus of(String name) {
        for (WorkflowStatus each : values()) {
            if (each.name().equals(name)) {
                return each;
            }
        }
        return UNRECOGNIZED;
    }
}
