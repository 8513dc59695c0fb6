package registry_test

import (
	"errors"
	"net/http"
	"testing"
	"time"

	"airgap/export/registry"
	. "airgap/export/registry/registrytest"
)

// The time is asked for without credentials, and told with any of the usual answers.
func TestClock(t *testing.T) {
	const date = "Tue, 14 Nov 2023 22:13:20 GMT"
	for _, test := range []struct {
		status int
		date   string
		want   time.Time
	}{
		{http.StatusOK, date, time.Unix(1_700_000_000, 0)}, {http.StatusUnauthorized, date, time.Unix(1_700_000_000, 0)}, {http.StatusOK, "noon", time.Time{}},
	} {
		api := &apiOf{}
		server := New(t, Faults(On("", "/v2/", func(w http.ResponseWriter, r *http.Request, _ http.Handler) bool {
			api.got = append(api.got, r)
			return Answer(test.status, "{}", "Date", test.date)(w, r, nil)
		})))
		got, err := newClient(t, withKeychain(ada)).Clock(t.Context(), server.Repo("x/y").Registry)
		ok(t, err)
		if !got.Equal(test.want) || len(api.got) != 1 || api.got[0].Header.Get("Authorization") != "" {
			t.Errorf("%d, %q: %s, %v", test.status, test.date, got, api.got)
		}
	}
	server := New(t, Faults(Drop()))
	if _, err := newClient(t, withKeychain(ada)).Clock(t.Context(), server.Repo("x/y").Registry); !errors.Is(err, registry.ErrUnavailable) {
		t.Errorf("%v", err)
	}
}

func TestPath(t *testing.T) {
	server := New(t)
	for prefix, want := range map[string]string{"": "x/y", "proxy/hub": "proxy/hub/x/y"} {
		c := registry.New(registry.Config{Host: func(string) registry.HostConfig { return registry.HostConfig{PlainHTTP: true, PathPrefix: prefix} }})
		if got := c.Path(server.Repo("x/y")); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
