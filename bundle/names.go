package bundle

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Grammar of names.
// https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#pulling-manifests
var (
	pathPattern = regexp.MustCompile(`^[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*$`)
	tagPattern  = regexp.MustCompile(`^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$`)
)

// maxPathSize is the length of repository names that most registries accept.
const maxPathSize = 255

// CheckPath returns an error that wraps ErrFormat where path is not a repository name (without a registry).
func CheckPath(path string) error {
	if len(path) > maxPathSize || !pathPattern.MatchString(path) {
		return fmt.Errorf("%w: %.300q is not a repository name: lower-case letters, digits and the separators . _ __ - and / are allowed, %d characters at most", ErrFormat, path, maxPathSize)
	}
	return nil
}

// CheckTag returns an error that wraps ErrFormat where tag is not a tag.
func CheckTag(tag string) error {
	if !tagPattern.MatchString(tag) {
		return fmt.Errorf("%w: %.150q is not a tag: letters, digits, _ . and - are allowed, 128 characters at most", ErrFormat, tag)
	}
	return nil
}

// Grammar of where something is at a source: REGISTRY/REPOSITORY, and with a tag, a digest or both. The repository may be
// named more freely than one at a destination.
var (
	repositoryPattern = regexp.MustCompile(`^[A-Za-z0-9._:\[\]-]+/[a-z0-9._/-]+$`)
	sourcePattern     = regexp.MustCompile(`^([A-Za-z0-9._:\[\]-]+/[a-z0-9._/-]+)(:[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127})?(@sha256:[0-9a-f]{64})?$`)
	fallbackPattern   = regexp.MustCompile(`^sha256-[0-9a-f]{64}$`)
)

// checkRepository returns an error where s is not a repository with its registry.
func checkRepository(s string) error {
	if len(s) > MaxStringSize || !repositoryPattern.MatchString(s) {
		return fmt.Errorf("%.300q is not a repository with its registry", s)
	}
	return nil
}

// checkSource returns an error where s is not the full reference of a manifest with the given digest.
func checkSource(s string, digest Digest) error {
	parts := sourcePattern.FindStringSubmatch(s)
	if len(s) > MaxStringSize || parts == nil || parts[2] == "" && parts[3] == "" {
		return fmt.Errorf("the source %.300q is not a full reference, as in docker.io/acme/app:1", s)
	}
	if pinned := parts[3]; pinned != "" && pinned != "@"+digest.String() {
		return fmt.Errorf("the source %.300q has another digest than the image, %s", s, digest)
	}
	return nil
}

// IsFallbackTag tells whether tag is one that registries without the referrers API keep for a list of referrers. No image
// can have it.
// https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#referrers-tag-schema
func IsFallbackTag(tag string) bool { return fallbackPattern.MatchString(tag) }

// CosignSuffixes are the endings of the tags under which cosign kept signatures, attestations and SBOMs before
// the referrers API.
// https://github.com/sigstore/cosign/blob/v2.6.1/specs/SIGNATURE_SPEC.md#tag-based-discovery
var CosignSuffixes = []string{".sig", ".att", ".sbom"}

// isCosignTagOf tells whether tag is a cosign tag of the given subject.
func isCosignTagOf(subject Digest, tag string) bool {
	suffix, ok := strings.CutPrefix(tag, subject.FallbackTag())
	return ok && slices.Contains(CosignSuffixes, suffix)
}

// maxMirrorSize leaves room in a tag for the sequence and the beginning of a digest.
const maxMirrorSize = 100

var mirrorPattern = regexp.MustCompile(`^[a-z0-9]+([._-][a-z0-9]+)*$`)

// CheckMirror returns an error that wraps ErrFormat where s is not the name of a mirror.
func CheckMirror(s string) error {
	if len(s) > maxMirrorSize || !mirrorPattern.MatchString(s) {
		return fmt.Errorf("%w: %.150q is not the name of a mirror: lower-case letters, digits and, in between, . _ and - are allowed, %d characters at most", ErrFormat, s, maxMirrorSize)
	}
	return nil
}

// SequenceTag returns the tag of the bundle of a mirror that has the given number.
func SequenceTag(mirror string, sequence uint64) string {
	return fmt.Sprintf("%s-%06d", mirror, sequence)
}

var entryPattern = regexp.MustCompile(`^(.+)-([0-9]{6,20})$`)

// ParseSequenceTag reads what SequenceTag writes; ok is false for all other tags.
func ParseSequenceTag(tag string) (mirror string, sequence uint64, ok bool) {
	parts := entryPattern.FindStringSubmatch(tag)
	if parts == nil || CheckMirror(parts[1]) != nil {
		return "", 0, false
	}
	sequence, err := strconv.ParseUint(parts[2], 10, 64)
	return parts[1], sequence, err == nil && sequence > 0 && SequenceTag(parts[1], sequence) == tag
}
