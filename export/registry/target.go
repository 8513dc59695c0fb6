package registry

import (
	"context"
	"net/http"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
)

// Clock returns the registry's time, to the second, from the Date of an answer that needs no credentials; the zero time
// where it does not say. https://www.rfc-editor.org/rfc/rfc9110#section-6.6.1
func (c *Client) Clock(ctx context.Context, reg name.Registry) (time.Time, error) {
	answer, err := c.API(ctx, reg, APICall{
		Op: "ask for the time at", Path: "/v2/", Limit: maxAnswer, Anonymous: true,
		Accept: []int{http.StatusOK, http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound},
	})
	if err != nil {
		return time.Time{}, err
	}
	if clock, err := http.ParseTime(answer.Header.Get("Date")); err == nil {
		return clock, nil
	}
	return time.Time{}, nil
}

// PathPrefix returns what comes before the repositories of a registry at its host, with a slash at the end, or "".
func (c *Client) PathPrefix(reg name.Registry) string {
	return c.core.host(reg.RegistryStr()).prefixed("")
}

// Path returns the path that repo has at its host: below HostConfig.PathPrefix.
func (c *Client) Path(repo name.Repository) string {
	return c.core.host(repo.RegistryStr()).prefixed(repo.RepositoryStr())
}
