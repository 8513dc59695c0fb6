package access

import (
	"fmt"
	"slices"
	"sync"

	"github.com/docker/docker-credential-helpers/client"
	"github.com/google/go-containerregistry/pkg/authn"

	"airgap/export/config"
	"airgap/export/registry"
)

// files is what configurations say of registries. Their credentials are evaluated when they are first asked for.
type files struct {
	limits map[string]config.RateLimit // of pulls
	known  map[string]*fromFile
}

// fromFile is what a configuration says of one registry.
type fromFile struct {
	evaluate func()

	login config.Login
	host  registry.HostConfig
	err   error
}

func newFiles(all []*config.File, env config.Environment) files {
	f := files{limits: map[string]config.RateLimit{}, known: map[string]*fromFile{}}
	for _, file := range all {
		for i := range file.Creds {
			r := &fromFile{}
			r.evaluate = sync.OnceFunc(func() { r.err = r.read(file, &file.Creds[i], env) })
			f.known[file.Creds[i].Registry] = r
		}
		for i := range file.Entries {
			e := &file.Entries[i]
			if source := sourceOf(e); e.RateLimit.Min > f.limits[source].Min {
				f.limits[source] = e.RateLimit
			}
		}
	}
	return f
}

// sourceOf returns the registry that an entry is about.
func sourceOf(e *config.Entry) string {
	switch e.Kind {
	case config.KindRegistry:
		return e.Registry.RegistryStr()
	case config.KindRepository:
		return e.Repo.RegistryStr()
	case config.KindImage:
		return e.Image.Ref.Context().RegistryStr()
	}
	return ""
}

// of returns what is known of a registry; nil for nothing.
func (f *files) of(host string) *fromFile {
	r := f.known[host]
	if r != nil {
		r.evaluate()
	}
	return r
}

// read evaluates what a file says. Errors wrap config.ErrConfig.
func (r *fromFile) read(file *config.File, c *config.Credential, env config.Environment) (err error) {
	r.host = registry.HostConfig{
		ReqPerSec: c.ReqPerSec, ReqConcurrent: c.ReqConcurrent, PathPrefix: c.PathPrefix,
		Mirrors: sortedMirrors(file, c.Mirrors), PlainHTTP: c.TLS == config.TLSDisabled,
	}
	if r.login, err = c.Evaluate(env); err != nil {
		return err
	}
	l := &r.login
	if (c.TLS == "" || c.TLS == config.TLSDisabled) && l.RegCert == "" && l.ClientCert == "" {
		return nil
	}
	certificates := Certificates{Authorities: given(l.RegCert), Client: given(l.ClientCert), ClientKey: given(l.ClientKey), Insecure: c.TLS == config.TLSInsecure}
	if r.host.TLS, err = certificates.TLS(); err != nil {
		return fmt.Errorf("%w: %s: regcert, clientCert and clientKey of %s: %w", config.ErrConfig, c.Position, registry.DisplayName(c.Registry), err)
	}
	return nil
}

// given is nil for "".
func given(pem string) []byte {
	if pem == "" {
		return nil
	}
	return []byte(pem)
}

// sortedMirrors puts mirrors in the order of their priority, as regsync does.
func sortedMirrors(f *config.File, mirrors []string) []string {
	priority := func(host string) int {
		for _, c := range f.Creds {
			if c.Registry == host {
				return c.Priority
			}
		}
		return 0
	}
	mirrors = slices.Clone(mirrors)
	slices.SortStableFunc(mirrors, func(a, b string) int { return priority(a) - priority(b) })
	return mirrors
}

// credentials returns nil where the file does not say who we are.
func (r *fromFile) credentials(host string) (authn.Authenticator, error) {
	l := &r.login
	switch {
	case r.err != nil:
		return nil, r.err
	case l.NeedsNothing():
		return nil, nil
	case l.CredHelper != "":
		return fromHelper(l, host)
	}
	return authn.FromConfig(authn.AuthConfig{Username: l.Username, Password: l.Password, IdentityToken: l.IdentityToken}), nil
}

// identityUser is the user name with which a helper says that the secret is an identity token.
const identityUser = "<token>"

// fromHelper asks a program such as docker-credential-ecr-login.
// https://docs.docker.com/reference/cli/docker/login/#credential-helper-protocol
func fromHelper(l *config.Login, host string) (authn.Authenticator, error) {
	server := l.CredHost
	if server == "" {
		server = storeKey(host)
	}
	credentials, err := client.Get(client.NewShellProgramFunc(l.CredHelper), server)
	if err != nil {
		return nil, fmt.Errorf("credHelper %s for %s: %w", l.CredHelper, server, err)
	}
	if credentials.Username == identityUser {
		return authn.FromConfig(authn.AuthConfig{IdentityToken: credentials.Secret}), nil
	}
	return authn.FromConfig(authn.AuthConfig{Username: credentials.Username, Password: credentials.Secret}), nil
}
