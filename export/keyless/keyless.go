// Package keyless signs bundles with an identity in place of a key, as cosign does: an authority for certificates (Fulcio) vouches for a key that is
// made for one signature, to whoever shows a token of an OpenID provider, and a transparency log (Rekor) or an authority for timestamps vouches
// for the time. Start with ParseToken and Signer.
//
// What comes out is a Sigstore bundle v0.3 with a certificate, over the statement that a signature by a key is over (bundle/FORMAT.md, "The signature"). It
// is not checked here against a root of trust: that is for who is to believe it.
package keyless

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"

	"github.com/sigstore/sigstore-go/pkg/sign"
	"google.golang.org/protobuf/encoding/protojson"

	"airgap/bundle"
	"airgap/export"
	"airgap/verify/signature"
)

// Errors of this package.
var (
	// ErrToken: not an identity token.
	ErrToken = errors.New("not an identity token (a JWT of an OpenID provider)")
	// ErrServices: addresses with which nothing can be signed.
	ErrServices = errors.New("not the addresses of services to sign with")
	// ErrSign: one of the services refused, or could not be asked.
	ErrSign = errors.New("cannot sign without a key")
)

// Services are the addresses of who vouches. One of Rekor and Timestamps may be "".
type Services struct {
	Fulcio     string // for the identity
	Rekor      string // for the time, version 1 of the protocol
	Timestamps string // for the time, by RFC 3161: the whole address
}

// PublicGood are Sigstore's public services. Their log shows to everybody who signed when, and the digest of what.
var PublicGood = Services{Fulcio: "https://fulcio.sigstore.dev", Rekor: "https://rekor.sigstore.dev"}

// Check says what is missing, and refuses to talk to other machines without TLS, since the token is a credential.
func (s Services) Check() error {
	if s.Fulcio == "" {
		return fmt.Errorf("%w: nobody to ask for a certificate", ErrServices)
	}
	if s.Rekor == "" && s.Timestamps == "" {
		return fmt.Errorf("%w: nobody vouches for the time: neither a log nor an authority for timestamps", ErrServices)
	}
	for _, address := range []string{s.Fulcio, s.Rekor, s.Timestamps} {
		if address == "" {
			continue
		}
		u, err := url.Parse(address)
		switch {
		case err != nil || u.Host == "" || u.User != nil:
			return fmt.Errorf("%w: %.200q", ErrServices, address)
		case u.Scheme != "https" && (u.Scheme != "http" || !isThisMachine(u.Hostname())):
			return fmt.Errorf("%w: %s is not https", ErrServices, u.Redacted())
		}
	}
	return nil
}

func isThisMachine(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// Token is an identity token. However it is printed, only the identity shows.
type Token struct {
	Issuer, Subject string // as it claims

	text string
}

// String returns the identity.
func (t Token) String() string { return fmt.Sprintf("%s of %s", t.Subject, t.Issuer) }

// GoString is String.
func (t Token) GoString() string { return t.String() }

// ParseToken reads a JWT, with white space around it, and believes none of its claims. The error wraps ErrToken.
func ParseToken(text string) (Token, error) {
	t := Token{text: strings.TrimSpace(text)}
	parts := strings.Split(t.text, ".")
	if len(parts) != 3 {
		return Token{}, ErrToken
	}
	claims, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return Token{}, ErrToken
	}
	var c struct {
		Issuer  string `json:"iss"`
		Subject string `json:"sub"`
		Email   string `json:"email"`
	}
	if err := json.Unmarshal(claims, &c); err != nil || c.Issuer == "" {
		return Token{}, ErrToken
	}
	t.Issuer, t.Subject = c.Issuer, c.Subject
	if c.Email != "" {
		t.Subject = c.Email
	}
	return t, nil
}

// Signer returns who signs with an identity until ctx is done; over is how the services are reached, but for Rekor. The token must be valid when the plan of a bundle has been made.
func Signer(ctx context.Context, s Services, token Token, over http.RoundTripper) export.Signer {
	return export.Signer{
		Sign:  func(d bundle.Digest) ([]byte, error) { return s.sign(ctx, token, d, over) },
		Name:  "keyless " + token.String(),
		Check: signature.CheckCertified, // whose it is, cannot be known without a root of trust
	}
}

// sign makes a key, has the services vouch for it, and signs.
func (s Services) sign(ctx context.Context, token Token, manifestIndex bundle.Digest, over http.RoundTripper) (_ []byte, err error) {
	defer func() {
		// sigstore-go reads what a log answers without looking whether it is whole.
		if problem := recover(); problem != nil {
			err = fmt.Errorf("%w: the answer of a service cannot be read: %v", ErrSign, problem)
		}
	}()
	statement, err := signature.Statement(manifestIndex)
	if err != nil {
		return nil, err
	}
	key, err := sign.NewEphemeralKeypair(nil)
	if err != nil {
		return nil, err
	}
	transport := direct(ctx, over)
	options := sign.BundleOptions{
		Context:                    ctx,
		CertificateProvider:        sign.NewFulcio(&sign.FulcioOptions{BaseURL: strings.TrimSuffix(s.Fulcio, "/"), Retries: retries, Transport: transport}),
		CertificateProviderOptions: &sign.CertificateProviderOptions{IDToken: token.text},
	}
	if s.Timestamps != "" {
		options.TimestampAuthorities = []*sign.TimestampAuthority{
			sign.NewTimestampAuthority(&sign.TimestampAuthorityOptions{URL: s.Timestamps, Retries: retries, Transport: transport}),
		}
	}
	if s.Rekor != "" {
		options.TransparencyLogs = []sign.Transparency{sign.NewRekor(&sign.RekorOptions{BaseURL: s.Rekor, Retries: retries})}
	}
	made, err := sign.Bundle(&sign.DSSEData{Data: statement, PayloadType: signature.PayloadType}, key, options)
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrSign, token, err)
	}
	text, err := protojson.Marshal(made)
	if err != nil {
		return nil, err
	}
	var compact bytes.Buffer // protojson varies its white space on purpose
	if err := json.Compact(&compact, text); err != nil {
		return nil, err
	}
	return compact.Bytes(), signature.CheckCertified(compact.Bytes(), manifestIndex)
}

// retries is how often a service that is not well is asked again; the waits grow from a second.
const retries = 3

// maxRefusal bounds what is read of the words with which a service refuses, in bytes.
const maxRefusal = 500

// transport is a http.RoundTripper.
type transport func(*http.Request) (*http.Response, error)

// RoundTrip implements http.RoundTripper.
func (t transport) RoundTrip(request *http.Request) (*http.Response, error) { return t(request) }

// direct sends requests where they are for, and follows nobody elsewhere with them. They end with ctx, which sigstore-go does not pass on.
func direct(ctx context.Context, over http.RoundTripper) http.RoundTripper {
	return transport(func(request *http.Request) (*http.Response, error) {
		response, err := over.RoundTrip(request.WithContext(ctx))
		switch {
		case err != nil:
			return nil, err
		case response.StatusCode >= 400:
			response.Body = struct {
				io.Reader
				io.Closer
			}{io.LimitReader(response.Body, maxRefusal), response.Body}
		case response.StatusCode >= 300:
			_ = response.Body.Close()
			return nil, fmt.Errorf("it wants to lead elsewhere: %s", response.Status)
		}
		return response, nil
	})
}
