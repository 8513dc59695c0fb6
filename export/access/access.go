// Package access says how registries are reached, and who we are there. It puts together what a person says of them, what
// configurations say (package config), and a keychain, such as that of the Docker configuration, in this order. Start with
// [New]; [OpenStore] is where the credentials of a login are kept.
package access

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"

	"github.com/google/go-containerregistry/pkg/authn"

	"airgap/export/config"
	"airgap/export/registry"
)

// Settings are what is known of registries. Hosts are named as go-containerregistry spells them ("index.docker.io").
type Settings struct {
	Hosts     map[string]Host // what a person says, which counts most
	Elsewhere *tls.Config     // for hosts that a registry sends us to, for tokens and layers
	Files     []*config.File
	// Environment is what the templates in the credentials of Files can ask for.
	Environment config.Environment
	Keychain    authn.Keychain // for hosts of which nothing else says who we are there; Files may switch it off
	UserAgent   string         // unless a file has another
}

// Host is what a person says of one registry.
type Host struct {
	PlainHTTP bool
	TLS       *tls.Config // nil: nothing was said about certificates
	Login     *authn.AuthConfig
}

// Access answers for registries what a client needs to know of them.
type Access struct {
	settings Settings
	files    files
}

// New returns the access that settings come to. The credentials that files have for the registries in play, and for their
// mirrors, must be there (config.ErrConfig); those of others are looked at when they are contacted, which never happens to
// the target's, as those are not on this side.
func New(s Settings, inPlay []string) (*Access, error) {
	a := &Access{settings: s, files: newFiles(s.Files, s.Environment)}
	for _, f := range s.Files {
		if f.SkipDockerConfig {
			a.settings.Keychain = authn.NewMultiKeychain() // anonymous
		}
		if f.UserAgent != "" {
			a.settings.UserAgent = f.UserAgent
		}
	}
	var problems []error
	for _, host := range inPlay {
		r := a.files.of(host)
		if r == nil {
			continue
		}
		problems = append(problems, r.err)
		for _, mirror := range r.host.Mirrors {
			if m := a.files.of(mirror); m != nil {
				problems = append(problems, m.err)
			}
		}
	}
	return a, errors.Join(problems...)
}

// Config returns the configuration of a client for these registries.
func (a *Access) Config() registry.Config {
	return registry.Config{Keychain: keychain{a}, Host: a.host, UserAgent: a.settings.UserAgent}
}

// MaxConcurrent returns how many requests at once the files allow at the strictest of the hosts, and at most limit.
func (a *Access) MaxConcurrent(hosts []string, limit int) int {
	for _, host := range hosts {
		if r := a.files.of(host); r != nil && r.host.ReqConcurrent > 0 {
			limit = min(limit, r.host.ReqConcurrent)
		}
	}
	return limit
}

// host implements registry.Config.Host.
func (a *Access) host(host string) registry.HostConfig {
	said := a.settings.Hosts[host]
	var settings registry.HostConfig
	known := a.files.of(host)
	if known != nil {
		settings = known.host
	}
	limits := a.files.limits[host]
	settings.RateLimitMin, settings.RateLimitRetry = limits.Min, limits.Retry
	isSaid := said.TLS != nil || said.PlainHTTP
	if !isSaid && (settings.TLS != nil || settings.PlainHTTP) { // a file says it
		return settings
	}
	// Certificates for a registry on this machine mean that it speaks https.
	settings.PlainHTTP = said.PlainHTTP || registry.IsLoopback(host) && said.TLS == nil
	settings.TLS = cmp.Or(said.TLS, a.settings.Elsewhere)
	return settings
}

// keychain has the credentials.
type keychain struct{ access *Access }

// Resolve implements authn.Keychain.
func (k keychain) Resolve(r authn.Resource) (authn.Authenticator, error) {
	return k.ResolveContext(context.Background(), r)
}

// ResolveContext implements authn.ContextKeychain.
func (k keychain) ResolveContext(ctx context.Context, r authn.Resource) (authn.Authenticator, error) {
	if login := k.access.settings.Hosts[r.RegistryStr()].Login; login != nil {
		return authn.FromConfig(*login), nil
	}
	if known := k.access.files.of(r.RegistryStr()); known != nil {
		if login, err := known.credentials(r.RegistryStr()); login != nil || err != nil {
			return login, err
		}
	}
	if k.access.settings.Keychain == nil {
		return authn.Anonymous, nil
	}
	return authn.Resolve(ctx, k.access.settings.Keychain, r)
}
