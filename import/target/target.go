// Package target is what all stages of an import know about the registry at the other end: what its answers mean, and how to
// see past Harbor's pull policies what it has.
package target

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"

	"airgap/bundle"
	"airgap/export/registry"
	"airgap/export/registry/harbor"
)

// Errors that a caller may want to tell apart; those of packages bundle and registry come through as they are.
var (
	// ErrConflict: the target has something else where this import would write.
	ErrConflict = errors.New("conflict at the target")
	// ErrDiffers: what the target shows is not what was written to it.
	ErrDiffers = errors.New("the target does not show what was written")
	// ErrHidden: there is something, and this account may see what it is neither in the registry nor in Harbor's API.
	ErrHidden = errors.New("a pull policy hides it")
)

// ReferrersAPI is what is known of how a target lists referrers.
type ReferrersAPI int32

// The values of ReferrersAPI.
const (
	ReferrersAPIUnknown ReferrersAPI = iota
	ReferrersAPIPresent
	ReferrersAPIAbsent // there are lists under fallback tags
)

// APIOf tells how referrers were listed.
func APIOf(listed registry.Referrers) ReferrersAPI {
	if listed.API {
		return ReferrersAPIPresent
	}
	return ReferrersAPIAbsent
}

// Absent tells whether err means that something is not at the target, which is no failure: a repository that nobody has
// pushed to is unknown to most registries.
func Absent(err error) bool {
	return errors.Is(err, registry.ErrNotFound) || errors.Is(err, registry.ErrRepositoryUnknown)
}

// IsFinal tells whether nothing else would be answered either after err.
func IsFinal(ctx context.Context, err error) bool {
	return err != nil && (ctx.Err() != nil || errors.Is(err, registry.ErrUnavailable) || errors.Is(err, registry.ErrThrottled))
}

// Refused tells whether a registry did not want what it was given, whoever gave it.
func Refused(err error) bool {
	var answer *registry.Error
	return errors.As(err, &answer) && answer.Status >= 400 && answer.Status < 500 &&
		!errors.Is(err, registry.ErrUnauthorized) && !errors.Is(err, registry.ErrForbidden) && !errors.Is(err, registry.ErrThrottled) &&
		!errors.Is(err, bundle.ErrDigest)
}

// LacksContent tells whether a target refuses a manifest for want of what it names.
func LacksContent(err error) bool {
	var answer *registry.Error
	return errors.As(err, &answer) && answer.HasCode("MANIFEST_BLOB_UNKNOWN")
}

// IsHidden tells whether a pull policy of Harbor keeps a manifest from being read. What does not exist is 404 all the same.
// Immutable tags are refused with the same status, but only to who writes.
func IsHidden(err error) bool {
	var answer *registry.Error
	return errors.As(err, &answer) && answer.Status == http.StatusPreconditionFailed
}

// Resolver finds out what a target has.
type Resolver interface {
	// Resolve returns the descriptor of a manifest without its bytes; the size is -1 where it is not known. What exists and is
	// hidden is an error that wraps ErrHidden.
	Resolve(ctx context.Context, ref name.Reference) (bundle.Descriptor, error)
}

// Tagged returns what a tag points to; zero where there is no such tag.
func Tagged(ctx context.Context, t Resolver, tag name.Tag) (bundle.Digest, error) {
	found, err := t.Resolve(ctx, tag)
	if Absent(err) {
		return bundle.Digest{}, nil
	}
	return found.Digest, err
}

// HasManifest tells whether the target has a manifest of a size in bytes. One of the same name that is something else is an
// error that wraps ErrConflict.
func HasManifest(ctx context.Context, t Resolver, ref name.Digest, size int64) (bool, error) {
	found, err := t.Resolve(ctx, ref)
	if Absent(err) {
		return false, nil
	}
	if err == nil && (found.Digest.String() != ref.DigestStr() || found.Size >= 0 && found.Size != size) {
		err = fmt.Errorf("%w: %s: the target answers with %s of %d bytes, not %d", ErrConflict, ref, found.Digest, found.Size, size)
	}
	return err == nil, err
}

// Pather knows where repositories are at a registry, which may be below a prefix.
type Pather interface {
	// Path returns the path of repo at its host.
	Path(repo name.Repository) string
}

// InHarbor returns the project of a repository, and its name in there.
func InHarbor(t Pather, repo name.Repository) (project, rest string) {
	project, rest, _ = strings.Cut(t.Path(repo), "/")
	return project, rest
}

// Accessories is what Harbor has listed as belonging to manifests, of what the bundle brings: by repository and subject. What is
// not in it may be there all the same.
type Accessories []map[bundle.Digest][]harbor.Accessory

// Of returns what is listed for a subject.
func (a Accessories) Of(repo int32, subject bundle.Digest) []harbor.Accessory {
	if int(repo) >= len(a) {
		return nil
	}
	return a[repo][subject]
}

// PastPolicies is a Resolver for a target in Harbor. What a pull policy hides there, such as content trust what is not signed,
// is taken from Harbor's own API, to which policies do not apply. (observed at Harbor 2.14.4)
type PastPolicies struct {
	Registry interface {
		Pather
		Resolver
	}
	Harbor *harbor.Client // nil: another registry
}

// Resolve is that of Resolver. The size is -1 where it is hidden: Harbor's API has that of all content. What the account may
// not see there either is an error that wraps ErrHidden.
func (p PastPolicies) Resolve(ctx context.Context, ref name.Reference) (bundle.Descriptor, error) {
	found, err := p.Registry.Resolve(ctx, ref)
	if p.Harbor == nil || !IsHidden(err) {
		return found, err
	}
	project, repository := InHarbor(p.Registry, ref.Context())
	artifact, err := p.Harbor.Artifact(ctx, project, repository, ref.Identifier())
	if errors.Is(err, harbor.ErrNotAllowed) {
		return bundle.Descriptor{}, fmt.Errorf("%s: %w in the project %s, and this account may not look past that: it needs the permission artifact:read there",
			ref, ErrHidden, project)
	}
	if err != nil {
		return bundle.Descriptor{}, err
	}
	return bundle.Descriptor{MediaType: artifact.MediaType, Digest: artifact.Digest, Size: -1}, nil
}

// Shown returns what a tag points to, for people; zero: it is not there.
func Shown(d bundle.Digest) string {
	if d.IsZero() {
		return "not there"
	}
	return d.String()
}
