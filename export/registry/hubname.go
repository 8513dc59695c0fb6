package registry

import (
	"errors"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
)

// HubName is what people call Docker Hub. go-containerregistry calls it index.docker.io (name.DefaultRegistry).
const HubName = "docker.io"

// HubAPI is the host of Docker Hub's own API. Its registry is at others.
const HubAPI = "hub.docker.com"

// hubHosts are other names of the same registry, at the beginning of references.
var hubHosts = []string{name.DefaultRegistry, "registry-1.docker.io"}

// IsHub tells whether a registry, as go-containerregistry spells it, is Docker Hub.
func IsHub(host string) bool { return host == name.DefaultRegistry }

// DisplayName spells a registry, or what begins with one (a repository, a reference), as people write it: with docker.io
// for Docker Hub.
func DisplayName(fullName string) string {
	host, rest, hasPath := strings.Cut(fullName, "/")
	switch {
	case !slices.Contains(hubHosts, host):
		return fullName
	case hasPath:
		return HubName + "/" + rest
	}
	return HubName
}

// ParseName reads the name of a registry as configuration files have it: with or without a scheme, and with any name that
// Docker Hub goes by. https://docs.docker.com/reference/cli/docker/login/ (index.docker.io/v1)
func ParseName(s string) (name.Registry, error) {
	s = strings.TrimSuffix(strings.TrimPrefix(strings.TrimPrefix(s, "https://"), "http://"), "/")
	switch s {
	case "":
		return name.Registry{}, errors.New("an empty name")
	case name.DefaultRegistry + "/v1", HubAPI:
		s = HubName
	}
	return name.NewRegistry(DisplayName(s))
}
