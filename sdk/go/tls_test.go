package goconductor_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/goconductor/goconductor/sdk/go"
	pb "github.com/goconductor/goconductor/sdk/go/goconductorv1"
)

// authority signs certificates.
type authority struct {
	t           *testing.T
	folder      string
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{t: t, folder: t.TempDir()}
	a.certificate, a.key = a.sign("ca", &x509.Certificate{
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	})
	return a
}

// sign writes NAME.pem and NAME.key.
func (a *authority) sign(name string, template *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	template.SerialNumber = big.NewInt(time.Now().UnixNano())
	template.Subject = pkix.Name{CommonName: name}
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	parent, signer := a.certificate, a.key
	if parent == nil {
		parent, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		a.t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	for ending, block := range map[string]*pem.Block{
		".pem": {Type: "CERTIFICATE", Bytes: der}, ".key": {Type: "PRIVATE KEY", Bytes: private},
	} {
		if err := os.WriteFile(a.path(name+ending), pem.EncodeToMemory(block), 0o600); err != nil {
			a.t.Fatal(err)
		}
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return parsed, key
}

func (a *authority) path(name string) string { return filepath.Join(a.folder, name) }

// executor accepts workers with a certificate and a token.
type executor struct {
	pb.UnimplementedWorkerServiceServer
	hello chan *pb.Hello
}

func (e *executor) Connect(stream grpc.BidiStreamingServer[pb.ConnectRequest, pb.ConnectResponse]) error {
	incoming, _ := metadata.FromIncomingContext(stream.Context())
	if strings.Join(incoming.Get("authorization"), " ") != "Bearer secret" {
		return status.Error(codes.Unauthenticated, "the token is missing")
	}
	request, err := stream.Recv()
	if err != nil {
		return err
	}
	welcome := &pb.Welcome{Executor: "test", Lease: durationpb.New(5 * time.Second)}
	if err := stream.Send(&pb.ConnectResponse{Message: &pb.ConnectResponse_Welcome{Welcome: welcome}}); err != nil {
		return err
	}
	e.hello <- request.GetHello()
	<-stream.Context().Done()
	return nil
}

// listen starts an executor whose certificate has a role. It returns its address.
func (a *authority) listen(role string) (string, *executor) {
	a.t.Helper()
	uri, err := url.Parse("spiffe://goconductor/" + role)
	if err != nil {
		a.t.Fatal(err)
	}
	a.sign(role, &x509.Certificate{URIs: []*url.URL{uri}})
	certificate, err := tls.LoadX509KeyPair(a.path(role+".pem"), a.path(role+".key"))
	if err != nil {
		a.t.Fatal(err)
	}
	authorities := x509.NewCertPool()
	authorities.AddCert(a.certificate)
	server := grpc.NewServer(grpc.Creds(credentials.NewTLS(&tls.Config{
		Certificates: []tls.Certificate{certificate}, ClientCAs: authorities, ClientAuth: tls.RequireAndVerifyClientCert,
	})))
	accepted := &executor{hello: make(chan *pb.Hello, 1)}
	pb.RegisterWorkerServiceServer(server, accepted)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		a.t.Fatal(err)
	}
	go func() { _ = server.Serve(listener) }()
	a.t.Cleanup(server.Stop)
	return "https://" + listener.Addr().String(), accepted
}

// connect connects a worker, and returns the error of the wait for its first stream.
func (a *authority) connect(address, token string, files goconductor.TLSFiles) error {
	a.t.Helper()
	client, err := goconductor.Connect("https://127.0.0.1:1",
		goconductor.WithTLS(files), goconductor.WithToken(token), goconductor.WithExecutors(address))
	if err != nil {
		a.t.Fatal(err)
	}
	defer func() { _ = client.Close() }()
	shop := goconductor.NewService("shop")
	goconductor.Action(shop, "work", func(context.Context, any) (any, error) { return nil, nil })
	worker, err := client.Serve(shop)
	if err != nil {
		a.t.Fatal(err)
	}
	defer worker.Close()
	ctx, cancel := context.WithTimeout(a.t.Context(), 2*time.Second)
	defer cancel()
	return worker.Connected(ctx)
}

func TestWorkerConnectsWithCertificateAndToken(t *testing.T) {
	t.Parallel()
	trusted, other := newAuthority(t), newAuthority(t)
	trusted.sign("worker", &x509.Certificate{})
	address, accepted := trusted.listen("saga-executor")
	files := goconductor.TLSFiles{
		CA: trusted.path("ca.pem"), Certificate: trusted.path("worker.pem"), Key: trusted.path("worker.key"),
	}
	if err := trusted.connect(address, "secret", files); err != nil {
		t.Fatal(err)
	}
	if hello := <-accepted.hello; hello.GetService() != "shop" || hello.GetCapacity() != 64 {
		t.Errorf("the hello is %v", hello)
	}
	wrongRole, _ := trusted.listen("state-store")
	for name, connect := range map[string]func() error{
		"the token is missing":   func() error { return trusted.connect(address, "wrong", files) },
		"expected saga-executor": func() error { return trusted.connect(wrongRole, "secret", files) },
		"signed by unknown authority": func() error {
			files := files
			files.CA = other.path("ca.pem")
			return trusted.connect(address, "secret", files)
		},
	} {
		if err := connect(); !errors.Is(err, goconductor.ErrNoExecutor) || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
