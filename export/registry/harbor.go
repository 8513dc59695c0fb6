package registry

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"

	"airgap/bundle"
	"airgap/bundle/strictjson"
)

// maxPong is how much is read of an answer that may be Harbor's, in bytes.
const maxPong = 1 << 10

// isHarbor asks, without credentials, for what only Harbor answers so. That there is no answer is an error, any other
// answer is not.
func (c *Client) isHarbor(ctx context.Context, h *host) (bool, error) {
	u := h.base
	u.Path = "/api/v2.0/ping"
	r := &request{op: "look for Harbor at", ref: DisplayName(h.name), home: h, method: http.MethodGet, url: &u}
	_, body, err := c.fetch(ctx, r, maxPong)
	switch {
	case err == nil:
		return strings.TrimSpace(string(body)) == "Pong", nil
	case ctx.Err() != nil, errors.Is(err, ErrUnavailable), errors.Is(err, ErrThrottled):
		return false, err
	}
	return false, nil
}

// harborRepositories reads Harbor's own listing, which shows an account all that it may see. With a namespace it is that
// of the project. Harbor's API takes passwords, and no tokens of its own registry.
// (swagger of Harbor 2.14: listAllRepositories, listRepositories)
func (c *Client) harborRepositories(ctx context.Context, reg name.Registry, n *names) (Listing, error) {
	s := c.sessionFor(reg, sessionKey{registry: reg.RegistryStr(), basic: true})
	u := s.home.base
	u.Path = "/api/v2.0/repositories"
	if project := n.project(); project != "" {
		u.Path = "/api/v2.0/projects/" + project + "/repositories"
	}
	r := request{
		op: opList, ref: DisplayName(s.home.name), home: s.home, session: s, url: &u,
		header: http.Header{"X-Is-Resource-Name": {"true"}}, // a name of digits is not a number
	}
	if err := c.numberedPages(ctx, r, url.Values{"sort": {"name"}}, harborPage, n.add); err != nil {
		return Listing{}, err
	}
	return Listing{Repositories: n.sorted(), PublicOnly: !s.isAccount()}, nil
}

// harborPage reads one page: an array of repositories, and their number in the header X-Total-Count.
func harborPage(resp *http.Response, body []byte) (numberedPage, error) {
	var entries []struct {
		Name string `json:"name"`
	}
	if err := strictjson.Unmarshal(body, &entries); err != nil {
		return numberedPage{}, err
	}
	header := resp.Header.Get("X-Total-Count")
	total, err := strconv.Atoi(header)
	if err != nil {
		return numberedPage{}, fmt.Errorf("%w: X-Total-Count is %.40q", bundle.ErrFormat, header)
	}
	next, err := parseNextLink(resp.Header.Values("Link"))
	if err != nil {
		return numberedPage{}, err
	}
	page := numberedPage{total: total, more: next != ""}
	for _, entry := range entries {
		page.names = append(page.names, entry.Name)
	}
	return page, checkTotal(total)
}

// isAccount tells whether what was last sent was somebody's.
func (s *session) isAccount() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cred != nil && s.cred.account
}
