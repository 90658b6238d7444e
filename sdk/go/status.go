package goconductor

import (
	"context"
	"errors"
	"slices"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// fromStatus converts the error of a gRPC call.
func fromStatus(err error) error {
	if err == nil {
		return nil
	}
	var known *Error
	if errors.As(err, &known) {
		return err
	}
	described, ok := status.FromError(err)
	if !ok {
		return err
	}
	converted := &Error{Message: described.Message(), err: err, kind: kindOf(described.Code())}
	for _, detail := range described.Details() {
		switch detail := detail.(type) {
		case *errdetails.ErrorInfo:
			converted.Code = detail.GetReason()
			converted.Retryable = detail.GetMetadata()["retryable"] == "true"
		case *errdetails.RequestInfo:
			converted.TraceID = detail.GetRequestId()
		case *errdetails.RetryInfo:
			converted.RetryDelay = detail.GetRetryDelay().AsDuration()
		case *errdetails.BadRequest:
			for _, violation := range detail.GetFieldViolations() {
				location := Location{Pointer: violation.GetField(), Detail: violation.GetDescription()}
				converted.Locations = append(converted.Locations, location)
			}
		}
	}
	// A request that is too large has the same gRPC code as one that is refused because of overload.
	if converted.kind == ErrOverloaded && !converted.Retryable && converted.RetryDelay == 0 {
		converted.kind = ErrInvalid
	}
	if slices.Contains([]codes.Code{codes.Unavailable, codes.DeadlineExceeded}, described.Code()) {
		converted.Retryable = true
	}
	// The caller ended the call.
	if described.Code() == codes.Canceled {
		converted.err = errors.Join(context.Canceled, err)
	}
	if described.Code() == codes.DeadlineExceeded {
		converted.err = errors.Join(context.DeadlineExceeded, err)
	}
	return converted
}

func kindOf(code codes.Code) error {
	switch code {
	case codes.NotFound:
		return ErrNotFound
	case codes.AlreadyExists, codes.FailedPrecondition, codes.Aborted:
		return ErrConflict
	case codes.InvalidArgument, codes.Unimplemented, codes.OutOfRange:
		return ErrInvalid
	case codes.Unauthenticated, codes.PermissionDenied:
		return ErrNotAllowed
	case codes.ResourceExhausted:
		return ErrOverloaded
	case codes.Unavailable:
		return ErrUnreachable
	case codes.DeadlineExceeded:
		return ErrTimeout
	default:
		return nil
	}
}
