package goconductor

import (
	"net"
	"net/url"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
)

// endpoint is the address of a gateway or of an executor.
type endpoint struct {
	url    string
	host   string
	target string
	secure bool
}

// parseEndpoint parses a URL such as http://127.0.0.1:8470.
func parseEndpoint(text string) (endpoint, error) {
	parsed, err := url.Parse(text)
	if err != nil || parsed.Host == "" || parsed.Scheme != "http" && parsed.Scheme != "https" {
		return endpoint{}, misuse("%q is not an address: use a URL such as http://127.0.0.1:8470", text)
	}
	if parsed.User != nil || parsed.RawQuery != "" || parsed.Path != "" && parsed.Path != "/" {
		return endpoint{}, misuse("the address %q must have no credentials, no path and no query", parsed.Redacted())
	}
	port := parsed.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[parsed.Scheme]
	}
	target := net.JoinHostPort(parsed.Hostname(), port)
	return endpoint{url: text, host: parsed.Hostname(), target: target, secure: parsed.Scheme == "https"}, nil
}

// credentials returns the credentials of the transport. byName requires the host name in the certificate of the server.
func (e endpoint) credentials(files TLSFiles, byName bool, role string) (credentials.TransportCredentials, error) {
	if !e.secure {
		return insecure.NewCredentials(), nil
	}
	name := ""
	if byName {
		name = e.host
	}
	config, err := files.config(name, role)
	if err != nil {
		return nil, err
	}
	return credentials.NewTLS(config), nil
}
