package record

import (
	"errors"
	"fmt"
	"strings"

	"airgap/import/placing"

	"github.com/google/go-containerregistry/pkg/name"
)

// repositoryName is that of a record below the destination.
const repositoryName = "airgap"

// ErrNoPlace: images go to several projects, and so the record has no one place.
var ErrNoPlace = errors.New("there is no one place for the record: name its repository with --record, or keep none with --no-record")

// Place returns where the record of a destination is by itself: in the prefix, or else in the one project of Harbor, or first path
// element, that all images go to. repos are where they go; of a destination with a prefix they are not looked at.
func Place(d placing.Destination, repos []name.Repository) (name.Repository, error) {
	in := d.Prefix
	if in == "" {
		for _, r := range repos {
			first, _, _ := strings.Cut(r.RepositoryStr(), "/")
			if in != "" && first != in {
				return name.Repository{}, fmt.Errorf("%s: images go to %s and to %s: %w", d, in, first, ErrNoPlace)
			}
			in = first
		}
	}
	if in == "" {
		return name.Repository{}, fmt.Errorf("%s: %w", d, ErrNoPlace)
	}
	return d.Registry.Repo(in, repositoryName), nil
}
