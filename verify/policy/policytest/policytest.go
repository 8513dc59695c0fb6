// Package policytest has the files that policies in tests name, without a disk.
package policytest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"io/fs"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/sigstore/sigstore-go/pkg/root"
)

// Files are files by their names. Names with a slash lie in directories.
type Files map[string]string

// ReadFile returns a file.
func (f Files) ReadFile(name string) ([]byte, error) {
	content, has := f[name]
	if !has {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return []byte(content), nil
}

// ReadDir lists what lies in a directory.
func (f Files) ReadDir(name string) ([]string, error) {
	var names []string
	directory := strings.TrimSuffix(name, "/") + "/"
	for file := range f {
		if inside, is := strings.CutPrefix(file, directory); is && !strings.Contains(inside, "/") {
			names = append(names, inside)
		}
	}
	if len(names) == 0 {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return names, nil
}

// Key is a new key, its public half in PEM, and a certificate in PEM that it signed for itself.
func Key(t testing.TB, notAfter time.Time) (public, certificate string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(private.Public())
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test", Organization: []string{"acme"}},
		NotBefore: time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC), NotAfter: notAfter, IsCA: true, BasicConstraintsValid: true,
	}
	signed, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})), string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: signed}))
}

// TrustedRoot is a trusted_root.json with the certificate of one certificate authority, given in PEM, which may also be that of a
// timestamp authority.
func TrustedRoot(t testing.TB, certificate string, timestamps bool) string {
	t.Helper()
	block, _ := pem.Decode([]byte(certificate))
	authority, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	var authorities []root.TimestampingAuthority
	if timestamps {
		authorities = append(authorities, &root.SigstoreTimestampingAuthority{
			Root: authority, Leaf: authority, ValidityPeriodStart: authority.NotBefore, ValidityPeriodEnd: authority.NotAfter, URI: "https://tsa.test",
		})
	}
	trusted, err := root.NewTrustedRoot(root.TrustedRootMediaType01, []root.CertificateAuthority{
		&root.FulcioCertificateAuthority{Root: authority, ValidityPeriodStart: authority.NotBefore, ValidityPeriodEnd: authority.NotAfter, URI: "https://fulcio.test"},
	}, nil, authorities, nil)
	if err != nil {
		t.Fatal(err)
	}
	content, err := json.Marshal(trusted)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}
