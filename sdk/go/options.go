package goconductor

import (
	"context"
	"log/slog"
	"slices"
	"time"

	"google.golang.org/grpc"
)

// Option is an option of [Connect].
type Option func(*settings)

type settings struct {
	namespace    string
	token        func(context.Context) (string, error)
	files        TLSFiles
	hasTLS       bool
	executors    []string
	logger       *slog.Logger
	interceptors []Interceptor
	dial         []grpc.DialOption
	callTimeout  time.Duration
}

// WithNamespace selects the namespace (default: "default").
func WithNamespace(namespace string) Option {
	return func(s *settings) { s.namespace = namespace }
}

// WithToken sends an access key, or a token of the identity provider, with each call and with the stream of each worker.
func WithToken(token string) Option {
	return WithTokenSource(func(context.Context) (string, error) { return token, nil })
}

// WithTokenSource calls the function for the token of each call, for tokens that expire. It must be fast, and safe for
// concurrent use.
func WithTokenSource(source func(context.Context) (string, error)) Option {
	return func(s *settings) { s.token = source }
}

// WithTLS sets the files of TLS for a gateway whose URL has the scheme https. Executors are connected with the same
// files. Changed files are used for new connections.
func WithTLS(files TLSFiles) Option {
	return func(s *settings) { s.files, s.hasTLS = files, true }
}

// WithExecutors sets the executors that workers connect to, such as http://127.0.0.1:8472 (default: the executors that the
// gateway lists).
func WithExecutors(addresses ...string) Option {
	return func(s *settings) { s.executors = slices.Clone(addresses) }
}

// WithLogger sets the logger (default: [slog.Default]).
func WithLogger(logger *slog.Logger) Option {
	return func(s *settings) { s.logger = logger }
}

// WithInterceptors adds interceptors around the actions of all services, outside those of [Intercept].
func WithInterceptors(interceptors ...Interceptor) Option {
	return func(s *settings) { s.interceptors = append(s.interceptors, interceptors...) }
}

// WithDialOptions adds options to the gRPC connection to the gateway, for example interceptors of calls.
func WithDialOptions(options ...grpc.DialOption) Option {
	return func(s *settings) { s.dial = append(s.dial, options...) }
}

// WithCallTimeout limits calls whose context has no deadline (default: 30 seconds). It does not limit [Handle.Result] and
// [Handle.Watch].
func WithCallTimeout(timeout time.Duration) Option {
	return func(s *settings) { s.callTimeout = timeout }
}
