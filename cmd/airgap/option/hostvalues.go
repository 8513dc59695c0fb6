package option

import (
	"crypto/tls"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/spf13/pflag"

	"airgap/cmd/airgap/app"
	"airgap/export/access"
	"airgap/export/registry"
)

// registryNames returns hosts as go-containerregistry spells them ("docker.io" is "index.docker.io"), each once.
func registryNames(hosts []string) ([]string, error) {
	var names []string
	for _, host := range hosts {
		reg, err := ParseRegistry(host)
		if err != nil {
			return nil, err
		}
		names = append(names, reg.RegistryStr())
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

// ParseRegistry reads the name of a registry, such as "docker.io" or "harbor.example.com:8443".
func ParseRegistry(host string) (name.Registry, error) {
	reg, err := name.NewRegistry(host)
	if err == nil && host != "" {
		return reg, nil
	}
	if _, rest, isURL := strings.Cut(host, "://"); isURL {
		alone, _, _ := strings.Cut(rest, "/")
		return reg, app.Usagef("%q is a URL; the name of the registry alone is %q", host, alone)
	}
	if alone, _, hasPath := strings.Cut(host, "/"); hasPath && alone != "" {
		return reg, app.Usagef("%q is more than the name of a registry, which is %q", host, alone)
	}
	return reg, app.Usagef("%q is not the name of a registry, such as docker.io or harbor.example.com:8443", host)
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
			return nil, app.Usagef("--%s is given twice for %s", flag, registry.DisplayName(host))
		}
		found[host] = value
	}
	return found, nil
}

func splitHost(flag, value string, inPlay []string) (host, rest string, err error) {
	// A "=" can be part of a path or a user name, too: what stands before it counts as a host if it looks like one,
	// by the same rule that tells a registry from a repository in a reference.
	if before, after, ok := strings.Cut(value, "="); ok && LooksLikeHost(before) {
		reg, err := ParseRegistry(before)
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

// LooksLikeHost tells whether s can be the name of a registry.
func LooksLikeHost(s string) bool {
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
		reg, err := ParseRegistry(host)
		if err != nil {
			return nil, fmt.Errorf("--%s: %w", flag, err)
		}
		found[reg.RegistryStr()] = true
	}
	return found, nil
}

func unqualified(flag, form string, inPlay []string) error {
	if len(inPlay) == 0 {
		return app.Usagef("--%s is given, but no registry is in play", flag)
	}
	return app.Usagef("several registries are in play, so --%s must say which one it is for: --%s=%s with one of %s",
		flag, flag, form, shownList(inPlay))
}

// certificateFiles are the values of the flags about certificates, by host.
type certificateFiles struct {
	authorities, clients, clientKeys map[string]string
	insecure                         map[string]bool
}

// hosts returns those that a flag is about.
func (c *certificateFiles) hosts() []string {
	hosts := slices.Collect(maps.Keys(c.insecure))
	for _, m := range []map[string]string{c.authorities, c.clients, c.clientKeys} {
		hosts = slices.AppendSeq(hosts, maps.Keys(m))
	}
	slices.Sort(hosts)
	return slices.Compact(hosts)
}

// tls reads the files for a host.
func (c *certificateFiles) tls(host string) (*tls.Config, error) {
	switch shown := registry.DisplayName(host); {
	case c.clients[host] != "" && c.clientKeys[host] == "":
		return nil, app.Usagef("--client-cert for %s needs --client-key", shown)
	case c.clients[host] == "" && c.clientKeys[host] != "":
		return nil, app.Usagef("--client-key for %s needs --client-cert", shown)
	}
	certificates := access.Certificates{Insecure: c.insecure[host]}
	for _, f := range []struct {
		flag, file string
		content    *[]byte
	}{
		{"ca-file", c.authorities[host], &certificates.Authorities},
		{"client-cert", c.clients[host], &certificates.Client},
		{"client-key", c.clientKeys[host], &certificates.ClientKey},
	} {
		if f.file == "" {
			continue
		}
		var err error
		if *f.content, err = app.ReadSmallFile(f.file); err != nil {
			return nil, app.Usagef("--%s: %w", f.flag, err)
		}
	}
	settings, err := certificates.TLS()
	switch {
	case errors.Is(err, access.ErrNoCertificate):
		return nil, app.Usagef("--ca-file: %s holds %w", c.authorities[host], err)
	case err != nil:
		return nil, app.Usagef("--client-cert and --client-key for %s: %w", registry.DisplayName(host), err)
	}
	return settings, nil
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

func addSwitch(flags *pflag.FlagSet, s *hostSwitch, name, usage string) {
	flags.Var(s, name, usage+" (=HOST with several registries)")
	flags.Lookup(name).NoOptDefVal = isOn
}
