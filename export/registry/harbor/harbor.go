// Package harbor asks Harbor, by its own API, what the protocol of registries does not tell: which projects there are and
// what they allow, what is left of a quota, which tags cannot be moved, what Harbor has made of signatures, and when it
// collects garbage. It makes projects and deletes tags, and writes nothing else.
//
// Find tells whether a registry is Harbor, and returns the Client for it. Everything goes through the one registry client
// (package registry), with its retries, its bounds and its rules for credentials. What an account may not see is an error
// that wraps ErrNotAllowed: whoever reports what was found has to say then that it was not checked.
//
// What is not said to come from the API's description (operation ids of harbor-2.14-swagger.yaml) was observed at a
// running Harbor 2.14.4.
package harbor

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"airgap/export/registry"

	"github.com/google/go-containerregistry/pkg/name"
)

// Bounds on answers, in bytes.
const (
	maxPong     = 1 << 10
	maxDocument = 256 << 10 // a project, the state of the system
	// maxListing is for pages of up to pageSize entries, and for an artifact, which brings its image's configuration and
	// all of its accessories along.
	maxListing = 8 << 20
)

// ErrNotAllowed: Harbor does not let this account see or do that, or leaves it out of what it shows. Robot accounts may
// see neither projects nor quotas unless they were given the permission.
var ErrNotAllowed = errors.New("not allowed to this account of Harbor")

// ErrReadOnly: Harbor is in read-only mode, in which nobody can write.
var ErrReadOnly = errors.New("read-only mode of Harbor")

// Client asks one Harbor. It is safe for concurrent use. Projects and repositories are named as they are there, whatever
// path prefix the registry client has for the host.
type Client struct {
	client   *registry.Client
	registry name.Registry
}

// Find returns a Client for reg, or nil where reg is something other than Harbor. That it does not answer at all is an
// error. (getPing, which needs no login)
func Find(ctx context.Context, client *registry.Client, reg name.Registry) (*Client, error) {
	answer, err := client.API(ctx, reg, registry.APICall{
		Op: "look for Harbor at", Path: "/api/v2.0/ping", Limit: maxPong, Anonymous: true,
	})
	switch {
	case err == nil && strings.TrimSpace(string(answer.Body)) == "Pong":
		return &Client{client: client, registry: reg}, nil
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case errors.Is(err, registry.ErrUnavailable), errors.Is(err, registry.ErrThrottled):
		return nil, err
	}
	return nil, nil
}

// Registry returns the registry that c asks.
func (c *Client) Registry() name.Registry { return c.registry }

// call is one request to Harbor's API.
type call struct {
	op     string // for errors: "read project x at"
	method string
	path   string // below /api/v2.0, see APICall
	query  url.Values
	body   []byte
	limit  int64
	accept []int
}

// do sends k.
func (c *Client) do(ctx context.Context, k call) (*registry.APIAnswer, error) {
	// Without it Harbor takes a project's name that has only digits for the number of another project.
	header := http.Header{"X-Is-Resource-Name": {"true"}}
	if k.body != nil {
		header.Set("Content-Type", "application/json")
	}
	answer, err := c.client.API(ctx, c.registry, registry.APICall{
		Op: k.op, Method: k.method, Path: "/api/v2.0" + k.path, Query: k.query, Header: header, Body: k.body, Limit: k.limit,
		Accept: k.accept,
	})
	if err != nil {
		return nil, explain(err)
	}
	return answer, nil
}

// malformed returns the error of an answer that is not what it should be.
func (c *Client) malformed(k call, err error) error {
	return &registry.Error{Op: k.op, Ref: c.registry.RegistryStr(), Err: fmt.Errorf("its answer: %w", err)}
}

// withheld returns the error of an answer that lacks what this account may not see.
func (c *Client) withheld(k call, what string) error {
	return &registry.Error{Op: k.op, Ref: c.registry.RegistryStr(), Err: fmt.Errorf("%w: its answer has no %s", ErrNotAllowed, what)}
}

// refusal is an error with a meaning of this package besides its own.
type refusal struct {
	error
	means error
}

// Unwrap returns both.
func (r refusal) Unwrap() []error { return []error{r.means, r.error} }

// explain adds what err means at Harbor. Robots are answered with 412 where only people have something, such as a
// profile; with 403 and the code DENIED where nobody may do it at present.
func explain(err error) error {
	var e *registry.Error
	if !errors.As(err, &e) {
		return err
	}
	switch {
	case e.HasCode("DENIED") && strings.Contains(e.Message, "read only"):
		return refusal{err, ErrReadOnly}
	case slices.Contains([]int{http.StatusUnauthorized, http.StatusForbidden, http.StatusPreconditionFailed}, e.Status):
		return refusal{err, ErrNotAllowed}
	}
	return err
}
