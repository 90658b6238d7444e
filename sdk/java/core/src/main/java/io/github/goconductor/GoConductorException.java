package io.github.goconductor;

import com.google.protobuf.Any;
import com.google.protobuf.InvalidProtocolBufferException;
import com.google.rpc.BadRequest;
import com.google.rpc.ErrorInfo;
import com.google.rpc.RequestInfo;
import com.google.rpc.RetryInfo;
import io.grpc.Status;
import io.grpc.protobuf.StatusProto;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;

/** The error of a call to GoConductor. */
public final class GoConductorException extends RuntimeException {
    private static final long serialVersionUID = 1;

    /**
     * The location of an error in a request.
     *
     * @param pointer a JSON pointer into the request, or the name of a field
     * @param detail the description, with its code, and the line and the column if they are known
     */
    public record Location(String pointer, String detail) {}

    /** The kind. */
    private final ErrorKind kind;
    /** The message without the code and the locations. */
    private final String description;
    /** The code. */
    private final String code;
    /** The locations. */
    private final transient List<Location> locations;
    /** Whether a retry may succeed. */
    private final boolean retryable;
    /** The requested delay. */
    private final Duration retryDelay;
    /** The id of the response. */
    private final String traceId;

    private GoConductorException(ErrorKind kind, String message, Details details, Throwable cause) {
        super(text(message, details), cause);
        this.kind = kind;
        this.description = message;
        this.code = details.code;
        this.locations = List.copyOf(details.locations);
        this.retryable = details.retryable;
        this.retryDelay = details.retryDelay;
        this.traceId = details.traceId;
    }

    private static String text(String message, Details details) {
        StringBuilder text = new StringBuilder();
        if (!details.code.isEmpty()) {
            text.append(details.code).append(": ");
        }
        text.append(message);
        details.locations.forEach(each -> text.append("; ").append(each.pointer()).append(": ").append(each.detail()));
        return text.toString();
    }

    static GoConductorException misuse(String message) {
        return new GoConductorException(ErrorKind.MISUSE, message, new Details(), null);
    }

    static GoConductorException of(ErrorKind kind, String message, Throwable cause) {
        return new GoConductorException(kind, message, new Details(), cause);
    }

    static GoConductorException unreachable(String message) {
        Details details = new Details();
        details.retryable = true;
        return new GoConductorException(ErrorKind.UNREACHABLE, message, details, null);
    }

    /** Returns a copy with the stack of the caller. The cause is that of the thread that received the failure. */
    GoConductorException atCaller() {
        Details details = new Details();
        details.code = code;
        details.locations.addAll(locations());
        details.retryable = retryable;
        details.retryDelay = retryDelay;
        details.traceId = traceId;
        return new GoConductorException(kind, description, details, this);
    }

    /** Converts the failure of a gRPC call. */
    static GoConductorException fromStatus(Throwable failure) {
        if (failure instanceof GoConductorException known) {
            return known;
        }
        Status status = Status.fromThrowable(failure);
        Details details = new Details();
        com.google.rpc.Status described = StatusProto.fromThrowable(failure);
        if (described != null) {
            for (Any any : described.getDetailsList()) {
                details.add(any);
            }
        }
        ErrorKind kind = kindOf(status.getCode());
        // A request that is too large has the same gRPC code as one that is refused because of overload.
        if (kind == ErrorKind.OVERLOADED && !details.retryable && details.retryDelay.isZero()) {
            kind = ErrorKind.INVALID;
        }
        if (kind == ErrorKind.UNREACHABLE || kind == ErrorKind.TIMEOUT) {
            details.retryable = true;
        }
        String message = status.getDescription();
        if (message == null) {
            message = failure.getMessage() == null ? failure.toString() : failure.getMessage();
        }
        Throwable root = status.getCause();
        while (root != null && root.getCause() != null && root.getCause() != root) {
            root = root.getCause();
        }
        if (root != null && root.getMessage() != null && !message.contains(root.getMessage())) {
            // The library describes each failure of a connection as an "io exception", and its parts in further lines.
            message = message.lines().findFirst().orElse("") + ": " + root.getMessage();
        }
        return new GoConductorException(kind, message, details, failure);
    }

    private static ErrorKind kindOf(Status.Code code) {
        return switch (code) {
            case NOT_FOUND -> ErrorKind.NOT_FOUND;
            case ALREADY_EXISTS, FAILED_PRECONDITION, ABORTED -> ErrorKind.CONFLICT;
            case INVALID_ARGUMENT, UNIMPLEMENTED, OUT_OF_RANGE -> ErrorKind.INVALID;
            case UNAUTHENTICATED, PERMISSION_DENIED -> ErrorKind.NOT_ALLOWED;
            case RESOURCE_EXHAUSTED -> ErrorKind.OVERLOADED;
            case UNAVAILABLE -> ErrorKind.UNREACHABLE;
            case DEADLINE_EXCEEDED -> ErrorKind.TIMEOUT;
            case CANCELLED -> ErrorKind.CANCELLED;
            default -> ErrorKind.OTHER;
        };
    }

    /** The details of an error in a response of the gateway. */
    private static final class Details {
        String code = "";
        List<Location> locations = new ArrayList<>();
        boolean retryable;
        Duration retryDelay = Duration.ZERO;
        String traceId = "";

        void add(Any any) {
            try {
                if (any.is(ErrorInfo.class)) {
                    ErrorInfo info = any.unpack(ErrorInfo.class);
                    code = info.getReason();
                    retryable = "true".equals(info.getMetadataMap().get("retryable"));
                } else if (any.is(RequestInfo.class)) {
                    traceId = any.unpack(RequestInfo.class).getRequestId();
                } else if (any.is(RetryInfo.class)) {
                    retryDelay = Wire.duration(any.unpack(RetryInfo.class).getRetryDelay());
                } else if (any.is(BadRequest.class)) {
                    any.unpack(BadRequest.class).getFieldViolationsList()
                            .forEach(each -> locations.add(new Location(each.getField(), each.getDescription())));
                }
            } catch (InvalidProtocolBufferException e) {
                // The status itself is known. A detail of another form adds nothing to it.
                locations.add(new Location("", "the gateway sent a detail that cannot be read: " + e.getMessage()));
            }
        }
    }

    /**
     * Returns the kind.
     *
     * @return the kind
     */
    public ErrorKind kind() {
        return kind;
    }

    /**
     * Returns the stable code, such as {@code GC2010}. Each code has a page in the documentation.
     *
     * @return the code; empty if the gateway did not describe the error
     */
    public String code() {
        return code;
    }

    /**
     * Returns the errors in the request, such as the problems of a definition.
     *
     * @return the locations
     */
    public List<Location> locations() {
        return locations == null ? List.of() : locations;
    }

    /**
     * Returns whether the same call may succeed later. A write must have an idempotency key to be retried.
     *
     * @return true if it may
     */
    public boolean isRetryable() {
        return retryable;
    }

    /**
     * Returns the delay that the gateway requests before a retry.
     *
     * @return the delay, or 0
     */
    public Duration retryDelay() {
        return retryDelay;
    }

    /**
     * Returns the id of the response in the log of the gateway.
     *
     * @return the id; empty if it is not known
     */
    public String traceId() {
        return traceId;
    }
}
