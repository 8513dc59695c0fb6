package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"airgap/bundle"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
)

type anonymousKeychain struct{}

func (anonymousKeychain) Resolve(authn.Resource) (authn.Authenticator, error) {
	return authn.Anonymous, nil
}

type (
	sessionKey    struct{}
	session       struct{}
	challenge     struct{}
	flight[T any] struct{}
	apiState      int
)

var errStub = fmt.Errorf("registry: %w", errors.ErrUnsupported)

// RetryPolicy says how often and how patiently to try again.
type RetryPolicy struct {
	Attempts int           // tries in all
	Base     time.Duration // the first pause, doubled each time
	Cap      time.Duration // the longest pause of our own
	Patience time.Duration // all pauses of one operation together, Retry-After included
	Sleep    func(context.Context, time.Duration) error
}

func (p RetryPolicy) withDefaults() RetryPolicy { return p }

// Error is every failure of this package.
type Error struct {
	Op, Ref, Method, URL string
	Status               int
	Codes                []string
	Message              string
	Err                  error
}

func (e *Error) Error() string { return e.Op }

// Sentinels.
var (
	ErrNotFound          = errors.New("not found at the registry")
	ErrRepositoryUnknown = errors.New("the registry knows no such repository")
	ErrUnauthorized      = errors.New("the registry wants other credentials")
	ErrForbidden         = errors.New("the registry forbids it")
	ErrThrottled         = errors.New("the registry limits the rate of requests")
	ErrUnavailable       = errors.New("the registry cannot be reached")
)

// Referrers is a complete listing.
type Referrers struct {
	Descriptors []bundle.Descriptor
	API         bool
}

func (c *Client) Resolve(ctx context.Context, ref name.Reference) (bundle.Descriptor, error) {
	return bundle.Descriptor{}, errStub
}
func (c *Client) Manifest(ctx context.Context, ref name.Reference) (bundle.Descriptor, []byte, error) {
	return bundle.Descriptor{}, nil, errStub
}
func (c *Client) Blob(ctx context.Context, ref name.Digest, size int64) (io.ReadCloser, error) {
	return nil, errStub
}
func (c *Client) Referrers(ctx context.Context, subject name.Digest) (Referrers, error) {
	return Referrers{}, errStub
}
func (c *Client) AnonymousRefused(ctx context.Context, ref name.Reference) (bool, error) {
	return false, errStub
}
func (c *Client) HasBlob(ctx context.Context, repo name.Repository, d bundle.Digest) (size int64, found bool, err error) {
	return 0, false, errStub
}
func (c *Client) Mount(ctx context.Context, repo name.Repository, from name.Repository, d bundle.Digest) (mounted bool, err error) {
	return false, errStub
}
func (c *Client) PushBlob(ctx context.Context, repo name.Repository, desc bundle.Descriptor, open func() (io.ReadCloser, error)) error {
	return errStub
}
func (c *Client) PushManifest(ctx context.Context, ref name.Reference, mediaType string, body []byte) (subjectAcknowledged bool, err error) {
	return false, errStub
}
func (c *Client) Tags(ctx context.Context, repo name.Repository) ([]string, error) {
	return nil, errStub
}
