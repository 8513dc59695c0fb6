package auth

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"airgap/export/registry/httpfield"
	"airgap/export/registry/wire"
)

// Authentication schemes, in lower case.
const (
	basic  = "basic"
	bearer = "bearer"
)

// challenge is what a WWW-Authenticate header asks for: the first Bearer challenge in it, or else the first Basic one.
type challenge struct {
	known   bool   // false only in the zero value
	scheme  string // basic, bearer, or empty where nothing (that we can do) is asked for
	realm   *url.URL
	service string
	scope   string
	err     error // why a Bearer challenge cannot be followed
}

// ask returns how the registry wants requests to be authorized. The first call asks it, and later ones once in a
// while. https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#determining-support
func (r *Registry) ask(ctx context.Context, once bool) (challenge, error) {
	r.mu.Lock()
	known, fresh := r.challenge, r.now().Sub(r.learned) < r.believed
	r.mu.Unlock()
	if known.known && fresh {
		return known, nil
	}
	probe := &r.probe
	if once {
		probe = &r.probeOnce
	}
	return probe.Do(ctx, func(ctx context.Context) (challenge, error) {
		status, header, err := r.sender.Probe(ctx, once)
		if err != nil {
			return challenge{}, err
		}
		// Any other answer says no more than how to log in; whether this is a registry, the request itself will show.
		c := challenge{known: true}
		if status == http.StatusUnauthorized {
			c = parseChallenge(header)
		}
		if err := r.check(&c); err != nil {
			return challenge{}, err
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		r.challenge, r.learned = c, r.now()
		return c, nil
	})
}

// learn remembers how a request that was refused is to be authorized, where nothing is known yet. What was learnt first
// stays: Harbor challenges with Bearer those who send nothing, and with Basic those who send a token that has expired.
func (r *Registry) learn(c challenge) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.challenge.scheme != "" || r.challenge.known && c.scheme == "" {
		return nil
	}
	if err := r.check(&c); err != nil {
		return err
	}
	r.challenge, r.learned = c, r.now()
	return nil
}

// check refuses what could send credentials where they must not go: token services that are no place for them. Any host may
// be one, private addresses too.
func (r *Registry) check(c *challenge) error {
	if c.scheme != bearer {
		return nil
	}
	err := c.err
	if err == nil {
		err = wire.CheckURL(c.realm)
	}
	if err == nil && r.base.Scheme == "https" && c.realm.Scheme != "https" {
		err = fmt.Errorf("%s: %w", c.realm.Host, wire.ErrDowngrade)
	}
	if err != nil {
		return &Error{At: "token service", Err: err}
	}
	if strings.EqualFold(c.realm.Host, r.base.Host) {
		// Harbor behind plain http may still name itself with https, which nothing speaks at this very address.
		c.realm.Scheme = r.base.Scheme
	}
	return nil
}

// maxChallenge is how much of a WWW-Authenticate header is read, in bytes.
const maxChallenge = 8 << 10

// parseChallenge reads the WWW-Authenticate fields of an answer (RFC 9110, section 11.6.1).
func parseChallenge(header http.Header) challenge {
	found := challenge{known: true}
	for _, field := range header.Values("Www-Authenticate") {
		for scheme, params := range challenges(field[:min(len(field), maxChallenge)]) {
			switch {
			case scheme == bearer:
				return bearerChallenge(params)
			case scheme == basic:
				found.scheme = basic
			}
		}
	}
	return found
}

func bearerChallenge(params map[string]string) challenge {
	c := challenge{known: true, scheme: bearer, service: params["service"], scope: params["scope"]}
	realm, err := url.Parse(params["realm"])
	switch {
	case params["realm"] == "":
		c.err = errors.New("the registry does not say where")
	case err != nil:
		c.err = wire.URLError(err)
	default:
		realm.Fragment = ""
		c.realm = realm
	}
	return c
}

// challenges yields the challenges in one field: scheme and parameters, their names in lower case. What follows a
// syntax error is not yielded.
func challenges(field string) func(yield func(scheme string, params map[string]string) bool) {
	return func(yield func(string, map[string]string) bool) {
		for {
			var scheme string
			scheme, field = httpfield.Token(strings.TrimLeft(field, " \t,"))
			if scheme == "" {
				return
			}
			var params map[string]string
			params, field = parameters(field)
			if !yield(strings.ToLower(scheme), params) {
				return
			}
		}
	}
}

// parameters reads name=value pairs, as far as they go, and returns what follows.
func parameters(s string) (map[string]string, string) {
	params := make(map[string]string)
	for {
		start := strings.TrimLeft(s, " \t,")
		key, rest := httpfield.Token(start)
		rest = strings.TrimLeft(rest, " \t")
		if key == "" || !strings.HasPrefix(rest, "=") {
			return params, start // the next scheme, or the end
		}
		value, rest, ok := httpfield.Value(strings.TrimLeft(rest[1:], " \t"))
		if !ok {
			return params, ""
		}
		if key = strings.ToLower(key); params[key] == "" {
			params[key] = value
		}
		s = rest
	}
}
