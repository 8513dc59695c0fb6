// Package option has the flags that commands share, each with what it leads to: registries and the users there (Registry),
// what to export (Selection), a bundle to be read (Source), volumes and keys.
package option

import (
	"context"
	"crypto/tls"
	"errors"
	"maps"
	"slices"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/spf13/pflag"

	"airgap/cmd/airgap/app"
	"airgap/export/access"
	"airgap/export/config"
	"airgap/export/registry"
	importer "airgap/import"
)

// Registry are the flags of every command that talks to registries: who we are and how a registry is reached.
// With one registry in play a value is for that one. With several each value says which registry it is for, as
// HOST=VALUE: a password or a relaxed check must never reach a registry that it was not meant for.
type Registry struct {
	Users

	caFiles     []string
	clientCerts []string
	clientKeys  []string
	insecure    hostSwitch
	plainHTTP   hostSwitch
}

// Add defines the flags.
func (f *Registry) Add(flags *pflag.FlagSet) {
	f.AddUsername(flags, "")
	f.AddConnection(flags)
}

// AddConnection defines the flags about connections alone.
func (f *Registry) AddConnection(flags *pflag.FlagSet) {
	flags.StringArrayVar(&f.caFiles, "ca-file", nil, "`[HOST=]FILE` of certificate authorities (PEM) to trust besides those of the system")
	flags.StringArrayVar(&f.clientCerts, "client-cert", nil, "`[HOST=]FILE` of the client certificate (PEM) for the registry")
	flags.StringArrayVar(&f.clientKeys, "client-key", nil, "`[HOST=]FILE` of the private key (PEM) for --client-cert")
	addSwitch(flags, &f.insecure, "insecure-skip-tls-verify",
		"do not check the registry's certificate: others can then read and change everything")
	addSwitch(flags, &f.plainHTTP, "plain-http", "speak http, not https, as is the default for registries on this machine")
}

// Client returns a client for the given registries, which are all that the command will ask on its own account.
func (f *Registry) Client(ctx context.Context, a *app.App, registries []string) (*registry.Client, error) {
	access, err := f.Access(ctx, a, registries, nil)
	if err != nil {
		return nil, err
	}
	return registry.New(ClientConfig(a, access)), nil
}

// Target returns a client for the registry that an import writes to, which tells pace, if there is one, of overload.
func (f *Registry) Target(ctx context.Context, a *app.App, host string, pace *importer.Pace) (*registry.Client, error) {
	access, err := f.Access(ctx, a, []string{host}, nil)
	if err != nil {
		return nil, err
	}
	config := ClientConfig(a, access)
	config.NotFoundIsEnough = true
	if pace != nil {
		config.Overloaded = pace.Overloaded
	}
	return registry.New(config), nil
}

// ClientConfig returns what a client is made with.
func ClientConfig(a *app.App, access *access.Access) registry.Config {
	config := access.Config()
	config.Logger, config.Now = a.Log, a.Now
	return config
}

// Access returns what the flags say of registries, and, where they say nothing, configurations. Errors are about usage, or
// about files that cannot be read. It may ask for passwords.
func (f *Registry) Access(ctx context.Context, a *app.App, registries []string, files []*config.File) (*access.Access, error) {
	inPlay, err := registryNames(registries)
	if err != nil {
		return nil, err
	}
	settings, err := f.Settings(ctx, a, inPlay)
	if err != nil {
		return nil, err
	}
	settings.Files, settings.Environment = files, configEnvironment(a)
	return access.New(settings, inPlay)
}

// Settings returns what the flags say.
func (f *Registry) Settings(ctx context.Context, a *app.App, inPlay []string) (access.Settings, error) {
	s := access.Settings{Keychain: authn.DefaultKeychain, UserAgent: app.UserAgent()}
	connections, err := f.connections(inPlay)
	if err != nil {
		return s, err
	}
	f.warnOfStrangers(a, inPlay, slices.Collect(maps.Keys(connections)))
	if s.Elsewhere, err = f.elsewhere(inPlay); err != nil {
		return s, err
	}
	logins, err := f.logins(ctx, a, inPlay)
	for host, login := range logins {
		h := connections[host]
		h.Login = &login
		connections[host] = h
	}
	s.Hosts = connections
	return s, err
}

// connections returns how the flags say that hosts are reached.
func (f *Registry) connections(inPlay []string) (map[string]access.Host, error) {
	var errs [5]error
	var c certificateFiles
	var plainHTTP map[string]bool
	plainHTTP, errs[0] = hostsOf("plain-http", f.plainHTTP, inPlay)
	c.insecure, errs[1] = hostsOf("insecure-skip-tls-verify", f.insecure, inPlay)
	c.authorities, errs[2] = byHost("ca-file", f.caFiles, inPlay)
	c.clients, errs[3] = byHost("client-cert", f.clientCerts, inPlay)
	c.clientKeys, errs[4] = byHost("client-key", f.clientKeys, inPlay)
	if err := errors.Join(errs[:]...); err != nil {
		return nil, err
	}
	connections := map[string]access.Host{}
	for host := range plainHTTP {
		connections[host] = access.Host{PlainHTTP: true}
	}
	for _, host := range c.hosts() {
		if plainHTTP[host] {
			return nil, app.Usagef("--plain-http for %s contradicts the flags about certificates", registry.DisplayName(host))
		}
		settings, err := c.tls(host)
		if err != nil {
			return nil, err
		}
		connections[host] = access.Host{TLS: settings}
	}
	return connections, nil
}

// elsewhere makes certificate authorities that were given without a host count for the hosts, too, to which the one registry
// sends us for tokens and layers. Nothing else does: client certificates and relaxed checks are for the registry alone.
func (f *Registry) elsewhere(inPlay []string) (*tls.Config, error) {
	if len(inPlay) != 1 || len(f.caFiles) != 1 {
		return nil, nil
	}
	authorities, err := byHost("ca-file", f.caFiles, inPlay)
	if err != nil || authorities[inPlay[0]] != f.caFiles[0] {
		return nil, err
	}
	c := certificateFiles{authorities: authorities}
	return c.tls(inPlay[0])
}

// warnOfStrangers finds typing errors. Such hosts are not refused, as a registry may send us there.
func (*Registry) warnOfStrangers(a *app.App, inPlay, named []string) {
	slices.Sort(named)
	for _, host := range slices.Compact(named) {
		if !slices.Contains(inPlay, host) {
			a.Warn("%s is none of the registries in play (%s): flags for it count only if one of them sends us there",
				registry.DisplayName(host), shownList(inPlay))
		}
	}
}

// RegistryHelp is the part of a command's help about the flags above.
const RegistryHelp = `Registries: credentials come from the Docker or Podman configuration and its credential helpers; "airgap
login" puts them there. Where a command talks to several registries, the flags about users,
certificates and plain http say which registry they are for, as in --ca-file harbor.example.com=ca.pem
or --plain-http=registry.lan:5000. Registries on this machine (localhost) are spoken to in plain http,
unless certificates are given for them. Proxies are taken from HTTPS_PROXY, HTTP_PROXY and NO_PROXY.`
