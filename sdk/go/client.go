package goconductor

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"

	pb "github.com/goconductor/goconductor/sdk/go/goconductorv1"
)

const (
	// DefaultAddress is the address of a gateway on this machine.
	DefaultAddress = "http://127.0.0.1:8470"

	defaultNamespace   = "default"
	defaultCallTimeout = 30 * time.Second
	// maxMessageBytes is the maximum size of a message. It exceeds every limit of the server.
	maxMessageBytes = 64 << 20
	// gatewayKeepAlive is the interval of pings while a call is in flight, and gatewayTimeout the timeout of a ping.
	gatewayKeepAlive = 30 * time.Second
	gatewayTimeout   = 10 * time.Second
)

// Client is a client of GoConductor: it starts workflows and connects services. It is safe for concurrent use.
type Client struct {
	settings settings
	gateway  endpoint
	conn     *grpc.ClientConn

	workflows   pb.WorkflowServiceClient
	definitions pb.DefinitionServiceClient
	services    pb.ServiceServiceClient
	schedules   pb.ScheduleServiceClient

	mutex sync.Mutex
	// workers are those of workflows whose steps are functions, by service.
	workers map[string]*Worker
	closed  bool
}

// Connect returns a client of the gateway at a URL such as http://127.0.0.1:8470. It sends no request. It returns
// [ErrMisuse] if the URL or an option is invalid.
func Connect(address string, options ...Option) (*Client, error) {
	config := settings{namespace: defaultNamespace, callTimeout: defaultCallTimeout, logger: slog.Default()}
	for _, option := range options {
		option(&config)
	}
	gateway, err := parseEndpoint(address)
	if err != nil {
		return nil, err
	}
	if config.hasTLS && !gateway.secure {
		return nil, misuse("the files of TLS have no effect for %s: use the scheme https", address)
	}
	for _, executor := range config.executors {
		parsed, err := parseEndpoint(executor)
		if err != nil {
			return nil, err
		}
		if parsed.secure != gateway.secure {
			return nil, misuse("the address %s of an executor must have the scheme of the gateway, %s", executor, address)
		}
	}
	transport, err := gateway.credentials(config.files, true, roleGateway)
	if err != nil {
		return nil, err
	}
	client := &Client{settings: config, gateway: gateway, workers: map[string]*Worker{}}
	// Without pings, a stream of events would not notice that the machine of the gateway is gone.
	dial := append([]grpc.DialOption{
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: gatewayKeepAlive, Timeout: gatewayTimeout}),
	}, config.dial...)
	if client.conn, err = client.dial(gateway, transport, dial...); err != nil {
		return nil, err
	}
	client.workflows = pb.NewWorkflowServiceClient(client.conn)
	client.definitions = pb.NewDefinitionServiceClient(client.conn)
	client.services = pb.NewServiceServiceClient(client.conn)
	client.schedules = pb.NewScheduleServiceClient(client.conn)
	return client, nil
}

// FromEnvironment returns a client with the settings of the command line: GOCONDUCTOR_SERVER (default: [DefaultAddress]),
// GOCONDUCTOR_NAMESPACE, GOCONDUCTOR_TOKEN, and GOCONDUCTOR_CA, GOCONDUCTOR_CERT and GOCONDUCTOR_KEY. Further options
// take precedence.
func FromEnvironment(options ...Option) (*Client, error) {
	address := os.Getenv("GOCONDUCTOR_SERVER")
	if address == "" {
		address = DefaultAddress
	}
	var base []Option
	if namespace := os.Getenv("GOCONDUCTOR_NAMESPACE"); namespace != "" {
		base = append(base, WithNamespace(namespace))
	}
	if token := os.Getenv("GOCONDUCTOR_TOKEN"); token != "" {
		base = append(base, WithToken(token))
	}
	files := TLSFiles{
		CA:          os.Getenv("GOCONDUCTOR_CA"),
		Certificate: os.Getenv("GOCONDUCTOR_CERT"),
		Key:         os.Getenv("GOCONDUCTOR_KEY"),
	}
	if files != (TLSFiles{}) {
		base = append(base, WithTLS(files))
	}
	return Connect(address, append(base, options...)...)
}

var defaultClient = sync.OnceValues(func() (*Client, error) { return FromEnvironment() })

// StartWorkflow starts a workflow with a client of the environment, see [FromEnvironment] and [Client.StartWorkflow]. The
// steps run in this program until it ends.
func StartWorkflow(ctx context.Context, workflow Workflow, options ...StartOption) (*Handle, error) {
	client, err := defaultClient()
	if err != nil {
		return nil, err
	}
	return client.StartWorkflow(ctx, workflow, options...)
}

// Conn returns the gRPC connection to the gateway, for calls that this type does not offer. It carries the namespace and
// the token.
func (c *Client) Conn() *grpc.ClientConn { return c.conn }

// Close ends the connection and disconnects the workers of [Client.StartWorkflow]. Their tasks in flight are retried. Shut
// the workers of [Client.Serve] down first: without the connection they discover no executors.
func (c *Client) Close() error {
	c.mutex.Lock()
	workers := c.workers
	c.workers, c.closed = map[string]*Worker{}, true
	c.mutex.Unlock()
	for _, worker := range workers {
		worker.Close()
	}
	return c.conn.Close()
}

// dial returns a connection that sends the namespace and the token.
func (c *Client) dial(
	to endpoint, transport credentials.TransportCredentials, more ...grpc.DialOption,
) (*grpc.ClientConn, error) {
	options := append([]grpc.DialOption{
		grpc.WithTransportCredentials(transport),
		grpc.WithChainUnaryInterceptor(c.unary),
		grpc.WithChainStreamInterceptor(c.stream),
		grpc.WithDefaultCallOptions(
			grpc.MaxCallRecvMsgSize(maxMessageBytes), grpc.MaxCallSendMsgSize(maxMessageBytes),
		),
	}, more...)
	conn, err := grpc.NewClient(to.target, options...)
	if err != nil {
		return nil, misuse("%q is not an address: %v", to.url, err)
	}
	return conn, nil
}

func (c *Client) unary(
	ctx context.Context, method string, request, reply any, conn *grpc.ClientConn, invoke grpc.UnaryInvoker,
	options ...grpc.CallOption,
) error {
	ctx, err := c.authenticated(ctx)
	if err != nil {
		return err
	}
	if _, limited := ctx.Deadline(); !limited {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, c.settings.callTimeout)
		defer cancel()
	}
	return invoke(ctx, method, request, reply, conn, options...)
}

func (c *Client) stream(
	ctx context.Context, description *grpc.StreamDesc, conn *grpc.ClientConn, method string, open grpc.Streamer,
	options ...grpc.CallOption,
) (grpc.ClientStream, error) {
	ctx, err := c.authenticated(ctx)
	if err != nil {
		return nil, err
	}
	return open(ctx, description, conn, method, options...)
}

func (c *Client) authenticated(ctx context.Context) (context.Context, error) {
	ctx = metadata.AppendToOutgoingContext(ctx, "goconductor-namespace", c.settings.namespace)
	if c.settings.token == nil {
		return ctx, nil
	}
	token, err := c.settings.token(ctx)
	if err != nil {
		return nil, fmt.Errorf("failed to obtain the token of a call: %w", err)
	}
	return metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+token), nil
}
