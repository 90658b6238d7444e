package io.github.goconductor;

/** The kind of an error of a call. */
public enum ErrorKind {
    /** The resource does not exist. */
    NOT_FOUND,
    /** The current state does not allow the call. */
    CONFLICT,
    /** The request is invalid. */
    INVALID,
    /** The credentials do not allow the call, or are missing. */
    NOT_ALLOWED,
    /** The call was refused because of overload and had no effect. */
    OVERLOADED,
    /** The gateway cannot be reached. A write may have taken effect. */
    UNREACHABLE,
    /** No response arrived in time. A write may have taken effect. */
    TIMEOUT,
    /** A workflow, a service or an address is invalid. Correct the program. */
    MISUSE,
    /** No executor accepted a worker of the service. */
    NO_EXECUTOR,
    /** The caller ended the call. A write may have taken effect. */
    CANCELLED,
    /** Another error. A write may have taken effect. */
    OTHER
}
