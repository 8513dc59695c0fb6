package registry_test

import (
	"testing"

	"airgap/export/registry"
)

func TestDockerHubHasOneName(t *testing.T) {
	for given, want := range map[string]string{
		"index.docker.io":                           "docker.io",
		"registry-1.docker.io":                      "docker.io",
		"index.docker.io/library/alpine:3":          "docker.io/library/alpine:3",
		"registry-1.docker.io/acme":                 "docker.io/acme",
		"docker.io/acme":                            "docker.io/acme",
		"index.docker.io.example.com/acme":          "index.docker.io.example.com/acme",
		"harbor.example.com:8443/index.docker.io/x": "harbor.example.com:8443/index.docker.io/x",
	} {
		if got := registry.DisplayName(given); got != want {
			t.Errorf("%s: %s", given, got)
		}
	}
	for _, given := range []string{"docker.io", "https://index.docker.io/v1/", "registry-1.docker.io", "hub.docker.com", "http://docker.io/"} {
		if reg, err := registry.ParseName(given); err != nil || !registry.IsHub(reg.RegistryStr()) {
			t.Errorf("%s: %s, %v", given, reg, err)
		}
	}
	for _, given := range []string{"", "https://", "a b", "example.com/path"} {
		if reg, err := registry.ParseName(given); err == nil {
			t.Errorf("%q is %s", given, reg)
		}
	}
}
