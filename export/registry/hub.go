package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"

	"airgap/bundle/strictjson"
)

// defaultHub is where Docker Hub's API is. Its registry is at other hosts.
const defaultHub = "hub.docker.com"

// oatPrefix is how organization access tokens begin. One without the scope to list repositories is shown the public
// ones, and nothing says so.
// https://docs.docker.com/reference/api/hub/latest/operations/listNamespaceRepositories/
const oatPrefix = "dckr_oat_"

// hubRepositories reads Docker Hub's listing of a namespace, or of the part of it that namespace names.
// https://docs.docker.com/reference/api/hub/latest/operations/listNamespaceRepositories/
func (c *Client) hubRepositories(ctx context.Context, reg name.Registry, namespace string) (Listing, error) {
	owner, _, _ := strings.Cut(namespace, "/")
	if owner == "" {
		return Listing{}, &Error{Op: opList, Ref: DisplayName(reg.RegistryStr()), Err: fmt.Errorf(
			"%w, but for those of one namespace, as in docker.io/acme", ErrNoListing)}
	}
	account, err := c.sessionFor(reg, sessionKey{registry: reg.RegistryStr(), actions: catalogActions}).account(ctx)
	if err != nil {
		return Listing{}, &Error{Op: "read the credentials for", Ref: DisplayName(reg.RegistryStr()), At: "credentials", Err: err}
	}
	s, err := c.hubLogin(ctx, reg, account)
	if err != nil {
		return Listing{}, err
	}
	u := s.home.base
	u.Path = "/v2/namespaces/" + owner + "/repositories"
	r := request{
		op: opList, ref: DisplayName(reg.RegistryStr()) + "/" + owner, home: s.home, session: s, url: &u, login: reg.RegistryStr(),
	}
	n := &names{space: namespace, seen: map[string]bool{}}
	private := false
	parse := func(_ *http.Response, body []byte) (numberedPage, error) {
		page, some, err := hubPage(body)
		private = private || some
		return page, err
	}
	add := func(repository string) error { return n.add(owner + "/" + repository) }
	if err := c.numberedPages(ctx, r, url.Values{"ordering": {"name"}}, parse, add); err != nil {
		return Listing{}, err
	}
	unsure := strings.HasPrefix(account.Password, oatPrefix) && !private
	return Listing{Repositories: n.sorted(), PublicOnly: !s.isAccount() || unsure}, nil
}

// hubPage reads one page, and tells whether any of its repositories is private.
func hubPage(body []byte) (page numberedPage, private bool, err error) {
	var doc struct {
		Count   *int   `json:"count"`
		Next    string `json:"next"`
		Results []struct {
			Name      string `json:"name"`
			IsPrivate bool   `json:"is_private"`
		} `json:"results"`
	}
	if err := strictjson.Unmarshal(body, &doc); err != nil {
		return numberedPage{}, false, err
	}
	if doc.Count == nil {
		return numberedPage{}, false, errors.New("the listing does not say how many repositories there are")
	}
	page = numberedPage{total: *doc.Count, more: doc.Next != ""}
	for _, result := range doc.Results {
		page.names = append(page.names, result.Name)
		private = private || result.IsPrivate
	}
	return page, private, checkTotal(page.total)
}

// hubLogin trades an account of Docker Hub for a token of its API, which lasts ten minutes; without an account it returns
// a session that sends none. The account is sent to that host and to no other, and the token too.
// https://docs.docker.com/reference/api/hub/latest/operations/AuthCreateAccessToken/
func (c *Client) hubLogin(ctx context.Context, reg name.Registry, account *authn.AuthConfig) (*session, error) {
	s := &session{client: c, home: c.host(c.cfg.Hub), resource: reg, cred: &credential{}, fixed: true}
	if account.Username == "" || account.Password == "" {
		return s, nil
	}
	body, err := json.Marshal(map[string]string{"identifier": account.Username, "secret": account.Password})
	if err != nil {
		return nil, err
	}
	u := s.home.base
	u.Path = "/v2/auth/token"
	r := &request{
		op: "log in to", ref: DisplayName(reg.RegistryStr()), home: s.home, realm: &u, method: http.MethodPost, url: &u,
		header: http.Header{"Content-Type": {"application/json"}}, body: body,
		secrets: []string{account.Password}, account: true, login: reg.RegistryStr(),
	}
	_, answer, err := c.fetch(ctx, r, maxTokenBody)
	if err != nil {
		return nil, err
	}
	var token struct {
		AccessToken string `json:"access_token"`
	}
	if err := strictjson.Unmarshal(answer, &token); err != nil {
		return nil, r.failf("its answer is not a token: %w", err)
	}
	if !validToken(token.AccessToken) {
		return nil, r.failf("its answer holds no token")
	}
	secrets := []string{token.AccessToken, account.Password}
	s.cred = &credential{header: "Bearer " + token.AccessToken, secrets: secrets, account: true}
	return s, nil
}
