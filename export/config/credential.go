package config

import (
	"errors"
	"fmt"
	"strings"

	"airgap/export/registry"

	"airgap/bundle/yaml"
)

// TLSMode says how a registry is reached.
type TLSMode string

// The modes; "" is TLSEnabled, except for registries on this machine.
const (
	TLSEnabled  TLSMode = "enabled"
	TLSInsecure TLSMode = "insecure" // the certificate is not checked
	TLSDisabled TLSMode = "disabled" // plain http
)

// Credential is an entry of creds: how a registry is reached, and, not evaluated yet, who we are there.
type Credential struct {
	Position      Position
	Registry      string // as package name spells it
	TLS           TLSMode
	PathPrefix    string   // put before every repository of this registry, where it is a mirror
	Mirrors       []string // registries, as package name spells them
	Priority      int      // of a mirror: lower ones first, as in regsync
	ReqPerSec     float64  // 0: no limit
	ReqConcurrent int      // 0: no limit

	user, pass, token              string // templates, as is what follows
	regCert, clientCert, clientKey string
	credHelper, credHost           string
}

// Login is who we are at a registry, and what we trust it by. It is a secret.
type Login struct {
	Username, Password, IdentityToken string
	CredHelper, CredHost              string // a program that gives the credentials, and the name to ask it for
	RegCert, ClientCert, ClientKey    string // PEM
}

// NeedsNothing tells whether the login says nothing of who we are.
func (l *Login) NeedsNothing() bool {
	return l.Username == "" && l.Password == "" && l.IdentityToken == "" && l.CredHelper == ""
}

// Evaluate evaluates the templates of a credential, with files and variables that must be there. Errors wrap ErrConfig
// and hold nothing of the values.
func (c *Credential) Evaluate(env Environment) (Login, error) {
	var l Login
	x := expander{env: env, strict: true}
	var problems []error
	for _, f := range []struct {
		key, text string
		into      *string
	}{
		{"user", c.user, &l.Username}, {"pass", c.pass, &l.Password}, {"token", c.token, &l.IdentityToken},
		{"credHelper", c.credHelper, &l.CredHelper}, {"credHost", c.credHost, &l.CredHost},
		{"regcert", c.regCert, &l.RegCert}, {"clientCert", c.clientCert, &l.ClientCert}, {"clientKey", c.clientKey, &l.ClientKey},
	} {
		expanded, err := x.expand(f.text, nil)
		if err != nil {
			problems = append(problems, fmt.Errorf("%w: %s: %s of %s: %w", ErrConfig, c.Position, f.key, c.Registry, withoutText(err)))
		}
		*f.into = expanded
	}
	return l, errors.Join(problems...)
}

// withoutText keeps of an error only what cannot hold a secret.
func withoutText(err error) error {
	var missing *missingError
	if errors.As(err, &missing) {
		return missing
	}
	if errors.Is(err, errTooLong) {
		return errTooLong
	}
	return errors.New("the template cannot be evaluated")
}

func (d *decoder) credential(v *yaml.Value) {
	c := Credential{Position: v.Position}
	var registry, hostname, tls string
	known := yaml.Keys{
		"registry": d.Text(&registry), "hostname": d.Text(&hostname), "tls": d.Text(&tls),
		"user": d.Text(&c.user), "pass": d.Text(&c.pass), "token": d.Text(&c.token),
		"credHelper": d.Text(&c.credHelper), "credHost": d.Text(&c.credHost),
		"regcert": d.Text(&c.regCert), "clientCert": d.Text(&c.clientCert), "clientKey": d.Text(&c.clientKey),
		"pathPrefix": d.Text(&c.PathPrefix), "mirrors": d.Texts(&c.Mirrors), "priority": d.Number(&c.Priority, 0),
		"reqPerSec": d.float(&c.ReqPerSec), "reqConcurrent": d.Number(&c.ReqConcurrent, 0),
		"repoAuth":   silent, // tokens are asked for by repository always
		"credExpire": d.nothing("credExpire", "credentials are asked for again when a registry refuses them"),
		"apiOpts":    d.nothing("apiOpts", "what a registry can do is found out by asking it"),
		"api":        d.nothing("api", "regsync does not look at it either"),
		"scheme":     d.nothing("scheme", "for plain http write tls: disabled"),
		"blobChunk":  d.nothing("blobChunk", "this side only fetches"),
		"blobMax":    d.nothing("blobMax", "this side only fetches"),
	}
	d.Mapping(v, "creds", known)
	if registry == "" {
		registry = hostname
	} else if hostname != "" && hostname != registry {
		d.note(v.Position, "hostname does nothing here: %.100s is contacted by its own name", registry)
	}
	// The name of the target's registry is often a variable that only the other side has: then nothing is for anybody here.
	expanded, err := expander{env: d.env}.expand(registry, nil)
	switch {
	case err != nil:
		d.Bad(v.Position, "registry: %s", withoutText(err))
		return
	case registry == "":
		d.Bad(v.Position, "an entry of creds without registry")
		return
	case expanded == "":
		d.note(v.Position, "registry %.60q is empty on this side, so that this entry of creds is for nobody here", registry)
		return
	}
	if c.Registry, err = parseRegistry(expanded); err != nil {
		d.Bad(v.Position, "%.100q is not the name of a registry", expanded)
	}
	c.TLS = TLSMode(strings.ToLower(tls))
	switch c.TLS {
	case "", TLSEnabled, TLSInsecure, TLSDisabled:
	default:
		d.Bad(v.Field("tls").Position, "tls is %.40q; enabled, insecure or disabled is expected", tls)
	}
	for i, mirror := range c.Mirrors {
		if c.Mirrors[i], err = parseRegistry(mirror); err != nil {
			d.Bad(v.Field("mirrors").Position, "%.100q is not the name of a registry", mirror)
		}
	}
	c.PathPrefix = strings.Trim(c.PathPrefix, "/")
	d.file.Creds = append(d.file.Creds, c)
}

// parseRegistry returns a registry's name as package name spells it.
func parseRegistry(s string) (string, error) {
	r, err := registry.ParseName(s)
	return r.RegistryStr(), err
}
