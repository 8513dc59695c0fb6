package registry

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
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

// learn remembers how h wants requests to be authorized. What was learnt first stays: Harbor challenges with Bearer those
// who send nothing, and with Basic those who send a token that has expired. It is an error where following c could send
// credentials where they must not go.
func (h *host) learn(c challenge) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.challenge.scheme != "" || h.challenge.known && c.scheme == "" {
		return nil
	}
	if c.scheme == bearer {
		if err := h.checkRealm(&c); err != nil {
			return &Error{Op: "log in to", Ref: DisplayName(h.name), At: "token service", Err: err}
		}
	}
	c.known = true
	h.challenge = c
	return nil
}

// checkRealm refuses token services that are no place for credentials. Any host may be one, private addresses too.
func (h *host) checkRealm(c *challenge) error {
	if c.err != nil {
		return c.err
	}
	if err := checkURL(c.realm); err != nil {
		return err
	}
	if h.base.Scheme == "https" && c.realm.Scheme != "https" {
		return fmt.Errorf("%s: %w", sanitize(c.realm.Host, maxCause), errDowngrade)
	}
	if strings.EqualFold(c.realm.Host, h.base.Host) {
		// Harbor behind plain http may still name itself with https, which nothing speaks at this very address.
		c.realm.Scheme = h.base.Scheme
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
		c.err = urlError(err)
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
			scheme, field = token(strings.TrimLeft(field, " \t,"))
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
		key, rest := token(start)
		rest = strings.TrimLeft(rest, " \t")
		if key == "" || !strings.HasPrefix(rest, "=") {
			return params, start // the next scheme, or the end
		}
		value, rest, ok := value(strings.TrimLeft(rest[1:], " \t"))
		if !ok {
			return params, ""
		}
		if key = strings.ToLower(key); params[key] == "" {
			params[key] = value
		}
		s = rest
	}
}

// token cuts a token off s (RFC 9110, section 5.6.2).
func token(s string) (tok, rest string) {
	end := strings.IndexFunc(s, func(c rune) bool {
		return c <= ' ' || c > '~' || strings.ContainsRune(`"(),/:;<=>?@[\]{}`, c)
	})
	if end < 0 {
		return s, ""
	}
	return s[:end], s[end:]
}

// value cuts a token or a quoted string off s (RFC 9110, section 5.6.4).
func value(s string) (v, rest string, ok bool) {
	if !strings.HasPrefix(s, `"`) {
		v, rest = token(s)
		return v, rest, true
	}
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch {
		case s[i] == '"':
			return b.String(), s[i+1:], true
		case s[i] == '\\' && i+1 < len(s):
			i++
		}
		b.WriteByte(s[i])
	}
	return "", "", false
}
