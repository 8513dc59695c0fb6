package registry

import (
	"context"

	"github.com/google/go-containerregistry/pkg/name"
)

// Granted returns which actions the registry's token service grants in repo when it is asked for "pull" and "push", as far
// as its token says so, in the token's order; "*" stands for all. It may be more than was asked for. A token service that
// grants less than was asked for says so nowhere else: Harbor answers a wrong password with 200 and a token for nothing.
// known is false where there is nothing to read: the registry takes passwords or no credentials at all, or its tokens are
// opaque. The token is not verified, only its registry can do that, so this is for telling people early, and for nothing
// else. https://distribution.github.io/distribution/spec/auth/jwt/#getting-a-bearer-token
func (c *Client) Granted(ctx context.Context, repo name.Repository) (granted []string, known bool, err error) {
	s := c.core.session(repo, pullPush)
	granted, known, err = s.Granted(ctx)
	if err != nil {
		r := &request{op: "ask for the rights in", ref: DisplayName(repo.Name()), home: s.home, session: s, url: s.home.url("")}
		return nil, false, c.core.relabel(ctx, r, err)
	}
	return granted, known, nil
}
