package access

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
)

// Certificates are what a registry is trusted by, and what we show it, in PEM; nil is nothing.
type Certificates struct {
	Authorities       []byte // to trust besides those of the system
	Client, ClientKey []byte // both or none
	Insecure          bool   // the registry's certificate is not checked
}

// ErrNoCertificate: the authorities are not what they should be.
var ErrNoCertificate = errors.New("no certificate in PEM form (-----BEGIN CERTIFICATE-----)")

// TLS returns the settings of a connection. Errors wrap ErrNoCertificate, or are about the client's pair.
func (c *Certificates) TLS() (*tls.Config, error) {
	t := &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: c.Insecure} //nolint:gosec // asked for by name
	if c.Authorities != nil {
		pool, err := x509.SystemCertPool()
		if err != nil {
			pool = x509.NewCertPool() // a system without authorities, such as an empty container
		}
		if !pool.AppendCertsFromPEM(c.Authorities) {
			return nil, ErrNoCertificate
		}
		t.RootCAs = pool
	}
	if c.Client != nil || c.ClientKey != nil {
		pair, err := tls.X509KeyPair(c.Client, c.ClientKey)
		if err != nil {
			return nil, err
		}
		t.Certificates = []tls.Certificate{pair}
	}
	return t, nil
}
