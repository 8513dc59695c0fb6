package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"

	"github.com/docker/docker-credential-helpers/client"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/spf13/cobra"

	"airgap/cmd/airgap/terminal"
	"airgap/export/config"
	"airgap/export/registry"
)

// readConfig reads a file like regsync.yaml, or standard input for "-".
func readConfig(a *app, file string) (*config.File, error) {
	in, closeInput, err := openInput(a, file, "the configuration")
	if err != nil {
		return nil, err
	}
	defer closeInput()
	content, err := io.ReadAll(io.LimitReader(in, config.MaxSize+1))
	if err != nil {
		return nil, err
	}
	if file == "-" {
		file = "standard input"
	}
	return config.Parse(file, content, a.configEnvironment())
}

// configEnvironment is what the templates of a configuration can ask for. Files are found as regsync finds them, from
// the directory in which the command runs.
func (a *app) configEnvironment() config.Environment {
	return config.Environment{LookupEnv: a.lookupEnv, ReadFile: readSmallFile, Now: a.now}
}

// maxTemplateFile bounds a file that a template puts into a configuration, in bytes.
const maxTemplateFile = 1 << 20

func readSmallFile(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	content, err := io.ReadAll(io.LimitReader(f, maxTemplateFile+1))
	if err == nil && len(content) > maxTemplateFile {
		err = fmt.Errorf("%s is larger than %s", name, terminal.Bytes(maxTemplateFile))
	}
	return content, err
}

func showNotes(a *app, f *config.File) {
	for _, note := range f.Notes {
		if note.Unknown {
			a.warn("%s: %s", note.Position, note.Message)
		} else {
			a.say("note: %s: %s", note.Position, note.Message)
		}
	}
}

// addFiles adds what configurations say of registries to what flags say, which counts more. The credentials of the
// registries in play and of their mirrors must be there; those of others are looked at when they are contacted, which
// never happens to the target's, as those are not on this side.
func (access *access) addFiles(a *app, files []*config.File, hosts []string) error {
	access.files = &fileAccess{environment: a.configEnvironment(), limits: map[string]registry.HostConfig{}, known: map[string]*fileRegistry{}}
	var problems []error
	for _, f := range files {
		access.skipDockerConfig = access.skipDockerConfig || f.SkipDockerConfig
		if f.UserAgent != "" {
			access.userAgent = f.UserAgent
		}
		for i := range f.Creds {
			access.files.known[f.Creds[i].Registry] = &fileRegistry{file: f, credential: &f.Creds[i]}
		}
		for i := range f.Entries {
			access.files.addRateLimit(&f.Entries[i])
		}
	}
	for _, host := range hosts {
		r := access.files.of(host)
		if r == nil {
			continue
		}
		problems = append(problems, r.err)
		for _, mirror := range r.host.Mirrors {
			if m := access.files.of(mirror); m != nil {
				problems = append(problems, m.err)
			}
		}
	}
	return errors.Join(problems...)
}

// fileAccess is what configurations say of registries, evaluated when it is first asked for.
type fileAccess struct {
	environment config.Environment
	limits      map[string]registry.HostConfig // of pulls

	mu    sync.Mutex
	known map[string]*fileRegistry
}

type fileRegistry struct {
	file       *config.File
	credential *config.Credential

	evaluated bool
	login     config.Login
	host      registry.HostConfig
	err       error
}

// of returns what is known of a registry; nil for nothing.
func (f *fileAccess) of(host string) *fileRegistry {
	if f == nil {
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	r := f.known[host]
	if r != nil && !r.evaluated {
		r.evaluated = true
		r.err = r.evaluate(f.environment)
	}
	return r
}

func (r *fileRegistry) evaluate(env config.Environment) (err error) {
	c := r.credential
	r.host = registry.HostConfig{
		ReqPerSec: c.ReqPerSec, ReqConcurrent: c.ReqConcurrent, PathPrefix: c.PathPrefix,
		Mirrors: sortedMirrors(r.file, c.Mirrors), PlainHTTP: c.TLS == config.TLSDisabled,
	}
	if r.login, err = c.Evaluate(env); err != nil {
		return usageError{err}
	}
	if c.TLS != "" && c.TLS != config.TLSDisabled || r.login.RegCert != "" || r.login.ClientCert != "" {
		if r.host.TLS, err = tlsFromLogin(&r.login, c.TLS == config.TLSInsecure); err != nil {
			return usageError{fmt.Errorf("%s: %s: %w", c.Position, registry.DisplayName(c.Registry), err)}
		}
	}
	return nil
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

func (f *fileAccess) addRateLimit(e *config.Entry) {
	if e.RateLimit.Min == 0 {
		return
	}
	var source string
	switch e.Kind {
	case config.KindRegistry:
		source = e.Registry.RegistryStr()
	case config.KindRepository:
		source = e.Repo.RegistryStr()
	case config.KindImage:
		source = e.Image.Ref.Context().RegistryStr()
	}
	if e.RateLimit.Min > f.limits[source].RateLimitMin {
		f.limits[source] = registry.HostConfig{RateLimitMin: e.RateLimit.Min, RateLimitRetry: e.RateLimit.Retry}
	}
}

func tlsFromLogin(l *config.Login, insecure bool) (*tls.Config, error) {
	t := &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: insecure} //nolint:gosec // asked for by name
	if l.RegCert != "" {
		var err error
		if t.RootCAs, err = certPool("regcert", []byte(l.RegCert)); err != nil {
			return nil, err
		}
	}
	if l.ClientCert != "" || l.ClientKey != "" {
		pair, err := tls.X509KeyPair([]byte(l.ClientCert), []byte(l.ClientKey))
		if err != nil {
			return nil, fmt.Errorf("clientCert and clientKey: %w", err)
		}
		t.Certificates = []tls.Certificate{pair}
	}
	return t, nil
}

// fileKeychain has the credentials of configurations.
type fileKeychain struct {
	files *fileAccess
	next  authn.Keychain
}

// Resolve implements authn.Keychain.
func (k fileKeychain) Resolve(r authn.Resource) (authn.Authenticator, error) {
	return k.ResolveContext(context.Background(), r)
}

// ResolveContext implements authn.ContextKeychain.
func (k fileKeychain) ResolveContext(ctx context.Context, r authn.Resource) (authn.Authenticator, error) {
	known := k.files.of(r.RegistryStr())
	switch {
	case known != nil && known.err != nil:
		return nil, known.err
	case known == nil || known.login.NeedsNothing():
		return authn.Resolve(ctx, k.next, r)
	case known.login.CredHelper != "":
		return fromHelper(&known.login, r.RegistryStr())
	}
	l := &known.login
	return authn.FromConfig(authn.AuthConfig{Username: l.Username, Password: l.Password, IdentityToken: l.IdentityToken}), nil
}

// identityUser is the user name with which a helper says that the secret is an identity token.
const identityUser = "<token>"

// fromHelper asks a program such as docker-credential-ecr-login.
// https://docs.docker.com/reference/cli/docker/login/#credential-helper-protocol
func fromHelper(l *config.Login, host string) (authn.Authenticator, error) {
	server := l.CredHost
	if server == "" {
		server = host
		if registry.IsHub(host) {
			server = authn.DefaultAuthKey
		}
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

func newConfig(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use: "config", Short: "Look at the file that says what to mirror", GroupID: groupCarry,
		Long: `airgap reads the regsync.yaml that people already have, with a few keys of its own: latest, minAge and
platformMode for entries and defaults, and charts. "airgap export -c FILE" exports what it says.`,
		Example: "  airgap config check regsync.yaml",
		RunE:    func(cmd *cobra.Command, args []string) error { return noCommand(a, cmd, args) },
	}
	cmd.AddCommand(newConfigCheck(a))
	return cmd
}

func newConfigCheck(a *app) *cobra.Command {
	var strict, asJSON bool
	cmd := &cobra.Command{
		Use:   "check FILE|-",
		Short: "Say what a regsync.yaml means, without contacting anyone",
		Long: `Read a file like regsync.yaml and say, for each entry, what airgap understood: source and destination, which
tags, what of the referrers, which platforms. Nobody is contacted, and no secret is looked at. Mistakes are
reported with line and column, all together; keys that nobody knows are warned of.`,
		Example: `  airgap config check regsync.yaml
  airgap config check --strict regsync.yaml`,
		Args: exactArgs("FILE"),
		RunE: func(_ *cobra.Command, args []string) error { return checkConfig(a, args[0], strict, asJSON) },
	}
	cmd.Flags().BoolVar(&strict, "strict", false, "take unknown keys for errors")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print what was understood as JSON")
	return cmd
}

// configSummary is the output of config check --json.
type configSummary struct {
	Entries []configEntry `json:"entries"`
	Notes   []configNote  `json:"notes"`
}

type configEntry struct {
	Position   string   `json:"position"`
	Understood []string `json:"understood"`
}

type configNote struct {
	Position string `json:"position"`
	Message  string `json:"message"`
	Unknown  bool   `json:"unknown"`
}

func checkConfig(a *app, file string, strict, asJSON bool) error {
	parsed, err := readConfig(a, file)
	if err != nil {
		return err
	}
	var unknown []error
	s := configSummary{Entries: []configEntry{}, Notes: []configNote{}}
	for _, n := range parsed.Notes {
		s.Notes = append(s.Notes, configNote{n.Position.String(), n.Message, n.Unknown})
		if n.Unknown {
			unknown = append(unknown, fmt.Errorf("%s: %s", n.Position, n.Message))
		}
	}
	if strict && len(unknown) > 0 {
		return usagef("%w: %w", config.ErrConfig, errors.Join(unknown...))
	}
	for i := range parsed.Entries {
		s.Entries = append(s.Entries, configEntry{parsed.Entries[i].Position.String(), parsed.Entries[i].Describe()})
	}
	for i := range parsed.Charts {
		s.Entries = append(s.Entries, configEntry{parsed.Charts[i].Position.String(), parsed.Charts[i].Describe()})
	}
	if asJSON {
		return a.printJSON(s)
	}
	showNotes(a, parsed)
	for _, e := range s.Entries {
		a.print("%s: %s", e.Position, e.Understood[0])
		for _, line := range e.Understood[1:] {
			a.print("  %s", line)
		}
	}
	a.say("%s is fine; entries: %d", file, len(s.Entries))
	return nil
}
