package auth

import (
	"context"
	"encoding/base64"
	"slices"
	"strings"

	"airgap/bundle/strictjson"
)

// Bounds on what is believed of a token.
const (
	maxGrants = 256 // resources in one token
	maxAction = 64  // bytes of an action's name
)

// Granted returns which actions a token is for in the session's repository, as far as it says so; known is false where there
// is nothing to read: the registry takes passwords or no credentials at all, or its tokens are opaque. The token is not
// verified, only its registry can do that. https://distribution.github.io/distribution/spec/auth/jwt/#getting-a-bearer-token
func (s *Session) Granted(ctx context.Context) (granted []string, known bool, err error) {
	cred, err := s.Credential(ctx)
	if err != nil {
		return nil, false, err
	}
	granted, known = cred.granted(s.scope.Repository)
	return granted, known, nil
}

// MayPush tells whether the session has a token that says so.
func (s *Session) MayPush() bool {
	s.mu.Lock()
	cred := s.cred
	s.mu.Unlock()
	if cred == nil {
		return false
	}
	granted, _ := cred.granted(s.scope.Repository)
	return slices.Contains(granted, "push") || slices.Contains(granted, "*")
}

func (c *Credential) granted(repository string) (granted []string, known bool) {
	token, ok := strings.CutPrefix(c.Header, "Bearer ")
	if !ok {
		return nil, false
	}
	return grantedBy(token, repository)
}

// grantedBy reads a token's claims; known is false where it has none about what may be done.
func grantedBy(token, repository string) (granted []string, known bool) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 || len(token) > MaxToken {
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
