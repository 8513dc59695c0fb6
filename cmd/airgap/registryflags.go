package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/spf13/pflag"

	"airgap/cmd/airgap/terminal"
	"airgap/export/registry"
)

// registryFlags are the flags of every command that talks to registries: who we are and how a registry is reached.
// With one registry in play a value is for that one. With several each value says which registry it is for, as
// HOST=VALUE: a password or a relaxed check must never reach a registry that it was not meant for.
type registryFlags struct {
	usernames     []string
	passwordStdin bool
	password      string // of --password, which login alone has
	caFiles       []string
	clientCerts   []string
	clientKeys    []string
	insecure      hostSwitch
	plainHTTP     hostSwitch
}

// add defines the flags.
func (f *registryFlags) add(flags *pflag.FlagSet) {
	f.addUsername(flags, "")
	f.addConnection(flags)
}

func (f *registryFlags) addUsername(flags *pflag.FlagSet, shorthand string) {
	flags.StringArrayVarP(&f.usernames, "username", shorthand, nil, "`[HOST=]NAME` of the user at the registry, instead of the one that is logged in")
	flags.BoolVar(&f.passwordStdin, "password-stdin", false, "read the password of that user from standard input")
}

func (f *registryFlags) addConnection(flags *pflag.FlagSet) {
	flags.StringArrayVar(&f.caFiles, "ca-file", nil, "`[HOST=]FILE` of certificate authorities (PEM) to trust besides those of the system")
	flags.StringArrayVar(&f.clientCerts, "client-cert", nil, "`[HOST=]FILE` of the client certificate (PEM) for the registry")
	flags.StringArrayVar(&f.clientKeys, "client-key", nil, "`[HOST=]FILE` of the private key (PEM) for --client-cert")
	addSwitch(flags, &f.insecure, "insecure-skip-tls-verify",
		"do not check the registry's certificate: others can then read and change everything")
	addSwitch(flags, &f.plainHTTP, "plain-http", "speak http, not https, as is the default for registries on this machine")
}

func addSwitch(flags *pflag.FlagSet, s *hostSwitch, name, usage string) {
	flags.Var(s, name, usage+" (=HOST with several registries)")
	flags.Lookup(name).NoOptDefVal = isOn
}

// hostSwitch is a flag that is on for one registry, or for the hosts that are its values.
type hostSwitch []string

func (s *hostSwitch) String() string         { return strings.Join(*s, ",") }
func (s *hostSwitch) Set(value string) error { *s = append(*s, value); return nil }
func (*hostSwitch) Type() string             { return "bool" } // in the help: no value is needed

// isOn and isOff are the values of a switch that names no host.
const (
	isOn  = "true"
	isOff = "false"
)

// client returns a client for the given registries, which are all that the command will ask on its own account.
func (f *registryFlags) client(ctx context.Context, a *app, hosts []string) (*registry.Client, error) {
	access, err := f.resolve(ctx, a, hosts)
	if err != nil {
		return nil, err
	}
	return access.client(a), nil
}

// target returns a client for the registry that an import writes to.
func (f *registryFlags) target(ctx context.Context, a *app, host string) (*registry.Client, error) {
	access, err := f.resolve(ctx, a, []string{host})
	if err != nil {
		return nil, err
	}
	access.writes = true
	return access.client(a), nil
}

// access is what the flags come to.
type access struct {
	credentials map[string]authn.AuthConfig
	settings    hostSettings

	// What configurations add (see addFiles).
	files            *fileAccess
	skipDockerConfig bool
	userAgent        string

	writes bool // the client is for a registry that is written to
}

// resolve reads the flags. Errors are about usage, or about files that cannot be read. It may ask for passwords.
func (f *registryFlags) resolve(ctx context.Context, a *app, hosts []string) (access, error) {
	inPlay, err := registryNames(hosts)
	if err != nil {
		return access{}, err
	}
	settings, err := f.settings(a, inPlay)
	if err != nil {
		return access{}, err
	}
	credentials, err := f.credentials(ctx, a, inPlay)
	return access{credentials: credentials, settings: settings, userAgent: userAgent()}, err
}

// client returns a client for registries that are reached in this way.
func (access access) client(a *app) *registry.Client {
	var next authn.Keychain = authn.DefaultKeychain
	if access.skipDockerConfig {
		next = authn.NewMultiKeychain() // anonymous
	}
	return registry.New(registry.Config{
		Keychain:  keychain{access.credentials, fileKeychain{access.files, next}},
		Host:      access.host,
		UserAgent: access.userAgent,
		Logger:    a.log,
		Now:       a.now,

		NotFoundIsEnough: access.writes,
	})
}

// host implements registry.Config.Host: flags count more than configurations.
func (access access) host(host string) registry.HostConfig {
	config := access.settings.host(host)
	if access.files == nil {
		return config
	}
	limits := access.files.limits[host]
	config.RateLimitMin, config.RateLimitRetry = limits.RateLimitMin, limits.RateLimitRetry
	known := access.files.of(host)
	if known == nil {
		return config
	}
	file := known.host
	file.RateLimitMin, file.RateLimitRetry = limits.RateLimitMin, limits.RateLimitRetry
	if _, byFlag := access.settings.tls[host]; !byFlag && !access.settings.plainHTTP[host] && (file.TLS != nil || file.PlainHTTP) {
		config.PlainHTTP, config.TLS = file.PlainHTTP, file.TLS
	}
	file.PlainHTTP, file.TLS = config.PlainHTTP, config.TLS
	return file
}

// registryNames returns hosts as go-containerregistry spells them ("docker.io" is "index.docker.io"), each once.
func registryNames(hosts []string) ([]string, error) {
	var names []string
	for _, host := range hosts {
		reg, err := parseRegistry(host)
		if err != nil {
			return nil, err
		}
		names = append(names, reg.RegistryStr())
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

// parseRegistry reads the name of a registry, such as "docker.io" or "harbor.example.com:8443".
func parseRegistry(host string) (name.Registry, error) {
	reg, err := name.NewRegistry(host)
	if err == nil && host != "" {
		return reg, nil
	}
	if _, rest, isURL := strings.Cut(host, "://"); isURL {
		alone, _, _ := strings.Cut(rest, "/")
		return reg, usagef("%q is a URL; the name of the registry alone is %q", host, alone)
	}
	if alone, _, hasPath := strings.Cut(host, "/"); hasPath && alone != "" {
		return reg, usagef("%q is more than the name of a registry, which is %q", host, alone)
	}
	return reg, usagef("%q is not the name of a registry, such as docker.io or harbor.example.com:8443", host)
}

func shownList(hosts []string) string {
	var all []string
	for _, host := range hosts {
		all = append(all, registry.DisplayName(host))
	}
	return strings.Join(all, ", ")
}

// byHost reads the values of one flag: HOST=VALUE, or VALUE alone where only one registry is in play.
func byHost(flag string, values, inPlay []string) (map[string]string, error) {
	found := map[string]string{}
	for _, value := range values {
		host, value, err := splitHost(flag, value, inPlay)
		if err != nil {
			return nil, err
		}
		if earlier, twice := found[host]; twice && earlier != value {
			return nil, usagef("--%s is given twice for %s", flag, registry.DisplayName(host))
		}
		found[host] = value
	}
	return found, nil
}

func splitHost(flag, value string, inPlay []string) (host, rest string, err error) {
	// A "=" can be part of a path or a user name, too: what stands before it counts as a host if it looks like one,
	// by the same rule that tells a registry from a repository in a reference.
	if before, after, ok := strings.Cut(value, "="); ok && looksLikeHost(before) {
		reg, err := parseRegistry(before)
		if err != nil {
			return "", "", fmt.Errorf("--%s: %w", flag, err)
		}
		return reg.RegistryStr(), after, nil
	}
	if len(inPlay) != 1 {
		return "", "", unqualified(flag, "HOST=VALUE", inPlay)
	}
	return inPlay[0], value, nil
}

func looksLikeHost(s string) bool {
	return !strings.ContainsAny(s, "/\\") && (strings.ContainsAny(s, ".:") || s == "localhost")
}

// hostsOf reads the values of a switch: nothing where only one registry is in play, or the host.
func hostsOf(flag string, values, inPlay []string) (map[string]bool, error) {
	found := map[string]bool{}
	for _, value := range values {
		if value == isOff {
			continue
		}
		host := value
		if value == isOn {
			if len(inPlay) != 1 {
				return nil, unqualified(flag, "HOST", inPlay)
			}
			host = inPlay[0]
		}
		reg, err := parseRegistry(host)
		if err != nil {
			return nil, fmt.Errorf("--%s: %w", flag, err)
		}
		found[reg.RegistryStr()] = true
	}
	return found, nil
}

func unqualified(flag, form string, inPlay []string) error {
	if len(inPlay) == 0 {
		return usagef("--%s is given, but no registry is in play", flag)
	}
	return usagef("several registries are in play, so --%s must say which one it is for: --%s=%s with one of %s",
		flag, flag, form, shownList(inPlay))
}

// hostSettings is what is known about hosts from the flags.
type hostSettings struct {
	plainHTTP map[string]bool
	tls       map[string]*tls.Config
	other     *tls.Config // for hosts that a registry sends us to
}

// host implements registry.Config.Host.
func (s hostSettings) host(host string) registry.HostConfig {
	config, isSet := s.tls[host]
	if !isSet {
		config = s.other
	}
	// A certificate authority or a client certificate for a registry on this machine means that it speaks https.
	return registry.HostConfig{PlainHTTP: s.plainHTTP[host] || registry.IsLoopback(host) && !isSet, TLS: config}
}

func (f *registryFlags) settings(a *app, inPlay []string) (hostSettings, error) {
	var s hostSettings
	var errs [5]error
	var caFiles, certs, keys map[string]string
	var insecure map[string]bool
	s.plainHTTP, errs[0] = hostsOf("plain-http", f.plainHTTP, inPlay)
	insecure, errs[1] = hostsOf("insecure-skip-tls-verify", f.insecure, inPlay)
	caFiles, errs[2] = byHost("ca-file", f.caFiles, inPlay)
	certs, errs[3] = byHost("client-cert", f.clientCerts, inPlay)
	keys, errs[4] = byHost("client-key", f.clientKeys, inPlay)
	if err := errors.Join(errs[:]...); err != nil {
		return s, err
	}
	s.tls = map[string]*tls.Config{}
	for _, host := range hostsIn(insecure, caFiles, certs, keys) {
		if s.plainHTTP[host] {
			return s, usagef("--plain-http for %s contradicts the flags about certificates", registry.DisplayName(host))
		}
		config, err := tlsConfig(host, caFiles[host], certs[host], keys[host], insecure[host])
		if err != nil {
			return s, err
		}
		s.tls[host] = config
	}
	f.warnOfStrangers(a, inPlay, slices.Concat(slices.Collect(maps.Keys(s.tls)), slices.Collect(maps.Keys(s.plainHTTP))))
	return s, f.trustForAll(&s, caFiles, inPlay)
}

// trustForAll makes certificate authorities that were given without a host count for the hosts, too, to which the
// one registry sends us for tokens and layers. Nothing else does: client certificates and relaxed checks are for
// the registry alone.
func (f *registryFlags) trustForAll(s *hostSettings, caFiles map[string]string, inPlay []string) error {
	if len(inPlay) != 1 || len(f.caFiles) != 1 || f.caFiles[0] != caFiles[inPlay[0]] {
		return nil
	}
	var err error
	s.other, err = tlsConfig(inPlay[0], f.caFiles[0], "", "", false)
	return err
}

// warnOfStrangers finds typing errors. Such hosts are not refused, as a registry may send us there.
func (*registryFlags) warnOfStrangers(a *app, inPlay, named []string) {
	slices.Sort(named)
	for _, host := range slices.Compact(named) {
		if !slices.Contains(inPlay, host) {
			a.warn("%s is none of the registries in play (%s): flags for it count only if one of them sends us there",
				registry.DisplayName(host), shownList(inPlay))
		}
	}
}

func hostsIn(switches map[string]bool, values ...map[string]string) []string {
	hosts := slices.Collect(maps.Keys(switches))
	for _, m := range values {
		hosts = slices.AppendSeq(hosts, maps.Keys(m))
	}
	slices.Sort(hosts)
	return slices.Compact(hosts)
}

func tlsConfig(host, caFile, certFile, keyFile string, insecure bool) (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: insecure} //nolint:gosec // asked for by name
	if caFile != "" {
		pem, err := os.ReadFile(caFile)
		if err == nil {
			config.RootCAs, err = certPool(caFile, pem)
		}
		if err != nil {
			return nil, fmt.Errorf("--ca-file: %w", err)
		}
	}
	switch {
	case certFile != "" && keyFile != "":
		pair, err := tls.LoadX509KeyPair(certFile, keyFile)
		if err != nil {
			return nil, fmt.Errorf("--client-cert and --client-key for %s: %w", registry.DisplayName(host), err)
		}
		config.Certificates = []tls.Certificate{pair}
	case certFile != "":
		return nil, usagef("--client-cert for %s needs --client-key", registry.DisplayName(host))
	case keyFile != "":
		return nil, usagef("--client-key for %s needs --client-cert", registry.DisplayName(host))
	}
	return config, nil
}

// certPool returns the system's authorities and those in pem. what names where these are from.
func certPool(what string, pem []byte) (*x509.CertPool, error) {
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool() // a system without authorities, such as an empty container
	}
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s holds no certificate in PEM form (-----BEGIN CERTIFICATE-----)", what)
	}
	return pool, nil
}

// credentials returns the users named by flags, with their passwords.
func (f *registryFlags) credentials(ctx context.Context, a *app, inPlay []string) (map[string]authn.AuthConfig, error) {
	users, err := byHost("username", f.usernames, inPlay)
	if err != nil {
		return nil, err
	}
	if err := f.checkUsers(users, inPlay); err != nil {
		return nil, err
	}
	credentials := map[string]authn.AuthConfig{}
	for _, host := range slices.Sorted(maps.Keys(users)) {
		password, err := f.readPassword(ctx, a, users[host], host)
		if err != nil {
			return nil, err
		}
		credentials[host] = authn.AuthConfig{Username: users[host], Password: password}
	}
	return credentials, nil
}

func (f *registryFlags) checkUsers(users map[string]string, inPlay []string) error {
	for host, user := range users {
		if !slices.Contains(inPlay, host) {
			return usagef("--username is given for %s, which is none of the registries in play: %s", registry.DisplayName(host), shownList(inPlay))
		}
		if user == "" {
			return usagef("--username for %s is empty", registry.DisplayName(host))
		}
	}
	switch {
	case f.passwordStdin && len(users) == 0:
		return usagef("--password-stdin needs --username")
	case f.passwordStdin && len(users) > 1:
		return usagef("standard input can give one password only, but --username names %d users: use \"airgap login\" for the others", len(users))
	}
	return nil
}

func (f *registryFlags) readPassword(ctx context.Context, a *app, user, host string) (string, error) {
	switch {
	case f.password != "":
		return f.password, nil
	case f.passwordStdin:
		stdin, err := a.takeStdin("the password")
		if err != nil {
			return "", err
		}
		return readSecret(stdin)
	case a.readPassword == nil:
		return "", usagef("there is no password for %s at %s: pass it with --password-stdin, or save it with \"airgap login %s\"",
			user, registry.DisplayName(host), registry.DisplayName(host))
	}
	password, err := a.askPassword(ctx, fmt.Sprintf("Password for %s at %s", user, registry.DisplayName(host)))
	if err != nil {
		return "", err
	}
	if len(password) == 0 {
		return "", errors.New("the password is empty")
	}
	return string(password), nil
}

// readSecret reads a password to the end of r, and leaves out one line ending, which "echo" or an editor put there.
func readSecret(r io.Reader) (string, error) {
	const limit = 64 << 10 // tokens are long, but not that long
	b, err := io.ReadAll(io.LimitReader(r, limit+1))
	switch {
	case err != nil:
		return "", fmt.Errorf("reading the password from standard input: %w", err)
	case len(b) > limit:
		return "", fmt.Errorf("the password on standard input is longer than %s", terminal.Bytes(limit))
	}
	secret := strings.TrimSuffix(strings.TrimSuffix(string(b), "\n"), "\r")
	if secret == "" {
		return "", errors.New("the password on standard input is empty")
	}
	return secret, nil
}

// keychain has the credentials from the flags, and asks the next one for others.
type keychain struct {
	credentials map[string]authn.AuthConfig
	next        authn.Keychain
}

// Resolve implements authn.Keychain.
func (k keychain) Resolve(r authn.Resource) (authn.Authenticator, error) {
	return k.ResolveContext(context.Background(), r)
}

// ResolveContext implements authn.ContextKeychain.
func (k keychain) ResolveContext(ctx context.Context, r authn.Resource) (authn.Authenticator, error) {
	if credentials, ok := k.credentials[r.RegistryStr()]; ok {
		return authn.FromConfig(credentials), nil
	}
	return authn.Resolve(ctx, k.next, r)
}

// registryHelp is the part of a command's help about the flags above.
const registryHelp = `Registries: credentials come from the Docker or Podman configuration and its credential helpers; "airgap
login" puts them there. Where a command talks to several registries, the flags about users,
certificates and plain http say which registry they are for, as in --ca-file harbor.example.com=ca.pem
or --plain-http=registry.lan:5000. Registries on this machine (localhost) are spoken to in plain http,
unless certificates are given for them. Proxies are taken from HTTPS_PROXY, HTTP_PROXY and NO_PROXY.`
