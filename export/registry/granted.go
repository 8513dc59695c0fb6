package registry

import (
	"context"
	"encoding/base64"
	"slices"
	"strings"

	"airgap/bundle/strictjson"

	"github.com/google/go-containerregistry/pkg/name"
)

// Bounds on what is believed of a token.
const (
	maxGrants = 256 // resources in one token
	maxAction = 64  // bytes of an action's name
)

// Granted returns which actions ("pull", "push"; none asks for both) the registry's token service grants in repo, as far
// as its token says so, in the token's order; "*" stands for all. It may be more than was asked for. A token service that
// grants less than was asked for says so nowhere else: Harbor answers a wrong password with 200 and a token for nothing.
// known is false where there is nothing to read: the registry takes passwords or no credentials at all, or its tokens are
// opaque. The token is not verified, only its registry can do that, so this is for telling people early, and for nothing
// else. https://distribution.github.io/distribution/spec/auth/jwt/#getting-a-bearer-token
func (c *Client) Granted(ctx context.Context, repo name.Repository, actions ...string) (granted []string, known bool, err error) {
	asked := strings.Join(actions, ",")
	if asked == "" {
		asked = pullPush
	}
	s := c.session(repo, asked)
	cred, err := s.credential(ctx)
	if err != nil {
		r := &request{op: "ask for the rights in", ref: DisplayName(repo.Name()), home: s.home, session: s, url: s.home.url("")}
		return nil, false, c.relabel(ctx, r, err)
	}
	token, ok := strings.CutPrefix(cred.header, "Bearer ")
	if !ok {
		return nil, false, nil
	}
	granted, known = grantedBy(token, s.home.prefixed(repo.RepositoryStr()))
	return granted, known, nil
}

// mayPush tells whether the session has a token that says so.
func (s *session) mayPush() bool {
	s.mu.Lock()
	cred := s.cred
	s.mu.Unlock()
	if cred == nil {
		return false
	}
	token, _ := strings.CutPrefix(cred.header, "Bearer ")
	granted, _ := grantedBy(token, s.home.prefixed(s.key.repository))
	return slices.Contains(granted, "push") || slices.Contains(granted, "*")
}

// grantedBy reads a token's claims; known is false where it has none about what may be done.
func grantedBy(token, repository string) (granted []string, known bool) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 || len(token) > maxTokenBody {
		return nil, false
	}
	payload, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(parts[1], "="))
	if err != nil {
		return nil, false
	}
	var claims struct {
		Access []struct {
			Type    string   `json:"type"`
			Name    string   `json:"name"`
			Actions []string `json:"actions"`
		} `json:"access"`
	}
	if err := strictjson.Unmarshal(payload, &claims); err != nil || claims.Access == nil || len(claims.Access) > maxGrants {
		return nil, false
	}
	for _, access := range claims.Access {
		if access.Type != "repository" || access.Name != repository {
			continue
		}
		for _, action := range access.Actions {
			if len(action) <= maxAction && printable(action) && !slices.Contains(granted, action) {
				granted = append(granted, action)
			}
		}
	}
	return granted, true
}
