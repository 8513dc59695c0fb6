package chart

import (
	"errors"
	"path"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
)

const (
	// maxRef is longer than any reference, in bytes: 255 of a repository, 128 of a tag, 71 of a digest.
	maxRef = 1 << 10
	// maxShown bounds, in bytes, what is repeated of texts that can have any length.
	maxShown = 200
)

// pictures are the endings of files that web pages have under the key image, too.
var pictures = []string{".png", ".svg", ".jpg", ".jpeg", ".gif", ".webp", ".ico"}

// fullName spells a reference in the one way that all its spellings have in common. Errors are for people, and complete
// "it was refused: ".
func fullName(ref string) (string, error) {
	switch {
	case ref == "":
		return "", errors.New("it is empty")
	case len(ref) > maxRef:
		return "", errors.New("it is too long for a reference")
	case strings.Contains(ref, "{{"):
		return "", errors.New("it is a template")
	case strings.Contains(ref, "://"):
		return "", errors.New("it is an address, not an image")
	case ref[0] == '.' || ref[0] == '/':
		return "", errors.New("it is a path, not an image")
	case slices.Contains(pictures, strings.ToLower(path.Ext(ref))) && !isPinned(ref):
		return "", errors.New("it is a picture, not an image")
	case ref == "auto":
		// https://istio.io/latest/docs/setup/additional-setup/gateway/#deploying-a-gateway
		return "", errors.New("istio replaces it in the cluster, with an image that is named elsewhere")
	}
	parsed, err := name.ParseReference(ref)
	if err != nil || !isClean(parsed.Context().RepositoryStr()) {
		return "", errors.New("it is no image reference")
	}
	return parsed.Name(), nil
}

// isClean tells whether a repository has a name between all of its slashes, which package name does not ask for.
// https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#pulling-manifests
func isClean(repository string) bool {
	for part := range strings.SplitSeq(repository, "/") {
		if part == "" || part[0] == '.' {
			return false
		}
	}
	return true
}

// isPinned tells whether a reference has a tag or a digest.
func isPinned(ref string) bool {
	return strings.Contains(ref, "@") || strings.Contains(ref[strings.LastIndexByte(ref, '/')+1:], ":")
}

// short cuts a text that is to be shown.
func short(text string) string {
	if len(text) <= maxShown {
		return text
	}
	return strings.ToValidUTF8(text[:maxShown], "") + "..."
}
