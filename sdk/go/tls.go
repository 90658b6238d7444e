package goconductor

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"os"
	"slices"
	"strings"
)

// TLSFiles are files in PEM form.
type TLSFiles struct {
	// CA has the authorities that signed the certificates of GoConductor. Empty means those of this machine.
	CA string
	// Certificate is the certificate of this program. Empty means that it presents none.
	Certificate string
	// Key is the private key of the certificate.
	Key string
}

// The roles in the certificates of GoConductor, as spiffe://<trust domain>/<role>.
const (
	roleGateway  = "api-gateway"
	roleExecutor = "saga-executor"
)

var roles = []string{roleGateway, roleExecutor, "state-store", "leader-elector", "worker", "operator"}

// config returns the settings of a handshake. name is the host name that the certificate must contain. Without a name, it
// must contain the role: executors announce addresses, which certificates need not contain.
func (f TLSFiles) config(name, role string) (*tls.Config, error) {
	if (f.Certificate == "") != (f.Key == "") {
		return nil, misuse("a certificate and its key must be set together")
	}
	// A mistake is reported now, and not only by the first handshake.
	if _, err := f.authorities(); err != nil {
		return nil, err
	}
	if _, err := f.certificate(); err != nil {
		return nil, err
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		ServerName: name,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return f.certificate()
		},
		// VerifyConnection verifies the chain, because the authorities are read again for each handshake.
		InsecureSkipVerify: true, //nolint:gosec // see above
		VerifyConnection: func(state tls.ConnectionState) error {
			return f.verify(state, name, role)
		},
	}, nil
}

func (f TLSFiles) authorities() (*x509.CertPool, error) {
	if f.CA == "" {
		return x509.SystemCertPool()
	}
	text, err := os.ReadFile(f.CA)
	if err != nil {
		return nil, fmt.Errorf("failed to read the authorities: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, misuse("the file %s contains no certificate in PEM form", f.CA)
	}
	return pool, nil
}

func (f TLSFiles) certificate() (*tls.Certificate, error) {
	if f.Certificate == "" {
		return &tls.Certificate{}, nil
	}
	certificate, err := tls.LoadX509KeyPair(f.Certificate, f.Key)
	if err != nil {
		return nil, fmt.Errorf("failed to load the certificate %s: %w", f.Certificate, err)
	}
	return &certificate, nil
}

func (f TLSFiles) verify(state tls.ConnectionState, name, role string) error {
	if len(state.PeerCertificates) == 0 {
		return errors.New("the server presented no certificate")
	}
	authorities, err := f.authorities()
	if err != nil {
		return err
	}
	intermediates := x509.NewCertPool()
	for _, certificate := range state.PeerCertificates[1:] {
		intermediates.AddCert(certificate)
	}
	leaf := state.PeerCertificates[0]
	options := x509.VerifyOptions{Roots: authorities, Intermediates: intermediates, DNSName: name}
	if _, err := leaf.Verify(options); err != nil {
		return err
	}
	found := certificateRoles(leaf.URIs)
	// The certificate of a gateway may be of a public authority, without a role.
	if slices.Contains(found, role) || len(found) == 0 && name != "" {
		return nil
	}
	return fmt.Errorf("the certificate of the server has the roles %q; expected %s", found, role)
}

func certificateRoles(uris []*url.URL) []string {
	var found []string
	for _, uri := range uris {
		role, _, _ := strings.Cut(strings.TrimPrefix(uri.Path, "/"), "/")
		if uri.Scheme == "spiffe" && slices.Contains(roles, role) {
			found = append(found, role)
		}
	}
	return found
}
