// Package dockerhub lists the repositories of a namespace of Docker Hub by its API, which is at another host than its
// registry and has a login of its own.
// https://docs.docker.com/reference/api/hub/latest/operations/listNamespaceRepositories/
package dockerhub

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"airgap/bundle/strictjson"
	"airgap/export/registry"
	"airgap/export/registry/numbered"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
)

// Bounds on answers.
const (
	maxToken        = 64 << 10 // bytes
	maxPage         = 16 << 20 // bytes
	maxRepositories = 200_000
)

// oatPrefix is how organization access tokens begin. One without the scope to list repositories is shown the public
// ones, and nothing says so.
const oatPrefix = "dckr_oat_"

// Repositories lists the repositories of owner, as paths such as owner/app, with the account that client has for Docker
// Hub. api is the host of the API, such as registry.HubAPI. publicOnly is set where private repositories are not listed, or may not be.
func Repositories(ctx context.Context, client *registry.Client, api, owner string) (paths []string, publicOnly bool, err error) {
	hub, err := name.NewRegistry(registry.HubName)
	if err != nil {
		return nil, false, err
	}
	at, err := name.NewRegistry(api)
	if err != nil {
		return nil, false, err
	}
	account, err := client.Credentials(ctx, hub)
	if err != nil {
		return nil, false, err
	}
	token, err := login(ctx, client, hub, at, account)
	if err != nil {
		return nil, false, err
	}
	call := registry.APICall{
		Op: "list repositories of namespace " + owner + " at", Path: "/v2/namespaces/" + owner + "/repositories", Limit: maxPage,
		Anonymous: token == "", Token: token, Account: hub.RegistryStr(), Secrets: []string{account.Password},
	}
	private := false
	got := 0
	read := func(number int) (page numbered.Page[string], err error) {
		call.Query = numbered.Query(number, url.Values{"ordering": {"name"}})
		answer, err := client.API(ctx, at, call)
		if err != nil {
			return page, err
		}
		page, some, err := parsePage(answer.Body)
		if number == 1 {
			got = 0
		}
		got += len(page.Entries)
		page.Total = max(page.Total, got) // which may lag behind
		private = private || some
		return page, err
	}
	names, err := numbered.All(maxRepositories, read, func(name string) string { return name })
	if err != nil {
		return nil, false, failure(hub, call.Op, err)
	}
	for _, name := range names {
		paths = append(paths, owner+"/"+name)
	}
	return paths, token == "" || strings.HasPrefix(account.Password, oatPrefix) && !private, nil
}

// failure makes an error of the client's kind of one that is not.
func failure(hub name.Registry, op string, err error) error {
	var e *registry.Error
	if errors.As(err, &e) {
		return err
	}
	return &registry.Error{Op: op, Ref: registry.DisplayName(hub.RegistryStr()), Err: err}
}

// parsePage reads one page, and tells whether any of its repositories is private.
func parsePage(body []byte) (page numbered.Page[string], private bool, err error) {
	var doc struct {
		Count   *int   `json:"count"`
		Next    string `json:"next"`
		Results []struct {
			Name      string `json:"name"`
			IsPrivate bool   `json:"is_private"`
		} `json:"results"`
	}
	if err := strictjson.Unmarshal(body, &doc); err != nil {
		return page, false, err
	}
	if doc.Count == nil || *doc.Count < 0 {
		return page, false, errors.New("the listing does not say how many repositories there are")
	}
	page.Total, page.More = *doc.Count, doc.Next != ""
	for _, result := range doc.Results {
		page.Entries = append(page.Entries, result.Name)
		private = private || result.IsPrivate
	}
	return page, private, nil
}

// login trades an account of Docker Hub for a token of its API, which lasts ten minutes; without an account it returns "".
// The account is sent to that host and to no other, and the token too.
// https://docs.docker.com/reference/api/hub/latest/operations/AuthCreateAccessToken/
func login(ctx context.Context, client *registry.Client, hub, at name.Registry, account *authn.AuthConfig) (string, error) {
	if account.Username == "" || account.Password == "" {
		return "", nil
	}
	body, err := json.Marshal(map[string]string{"identifier": account.Username, "secret": account.Password})
	if err != nil {
		return "", err
	}
	call := registry.APICall{
		Op: "log in to", Method: http.MethodPost, Path: "/v2/auth/token", Header: http.Header{"Content-Type": {"application/json"}},
		Body: body, Limit: maxToken, Anonymous: true, Account: hub.RegistryStr(), Secrets: []string{account.Password},
	}
	answer, err := client.API(ctx, at, call)
	if err != nil {
		return "", err
	}
	var token struct {
		AccessToken string `json:"access_token"`
	}
	if err := strictjson.Unmarshal(answer.Body, &token); err != nil {
		return "", failure(hub, call.Op, fmt.Errorf("its answer is not a token: %w", err))
	}
	if token.AccessToken == "" || strings.ContainsFunc(token.AccessToken, func(c rune) bool { return c <= ' ' || c > '~' }) {
		return "", failure(hub, call.Op, errors.New("its answer holds no token"))
	}
	return token.AccessToken, nil
}
