package bundle

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
)

// Digest is a SHA-256 digest, the only algorithm that a bundle knows (FORMAT.md, "Digests"). It is an array and
// not a string because a large bundle holds a hundred thousand of them: 32 bytes each instead of 71.
type Digest [sha256.Size]byte

// digestPrefix is how the image specification spells the algorithm.
// https://github.com/opencontainers/image-spec/blob/v1.1.1/descriptor.md#digests
const digestPrefix = "sha256:"

// EmptyJSON is the digest of the two bytes "{}", which artifacts without a config name as their config.
// https://github.com/opencontainers/image-spec/blob/v1.1.1/manifest.md#guidance-for-an-empty-descriptor
var EmptyJSON = DigestOf([]byte("{}"))

// DigestOf returns the digest of b.
func DigestOf(b []byte) Digest { return sha256.Sum256(b) }

// ParseDigest reads "sha256:" and 64 lower-case hexadecimal characters. Another algorithm is an error that wraps
// ErrUnsupported; anything else is one that wraps ErrFormat.
func ParseDigest(s string) (Digest, error) {
	hexPart, ok := strings.CutPrefix(s, digestPrefix)
	if !ok {
		if algorithm, _, isDigest := strings.Cut(s, ":"); isDigest && algorithm != "" {
			return Digest{}, fmt.Errorf("%w: digest %.80q: airgap carries sha256 digests only", ErrUnsupported, s)
		}
		return Digest{}, fmt.Errorf("%w: %.80q is not a digest", ErrFormat, s)
	}
	return parseHex(hexPart)
}

func parseHex(s string) (Digest, error) {
	var d Digest
	if len(s) != 2*len(d) || strings.ToLower(s) != s {
		return Digest{}, fmt.Errorf("%w: sha256:%.80q is not a digest: 64 lower-case hexadecimal characters expected", ErrFormat, s)
	}
	if _, err := hex.Decode(d[:], []byte(s)); err != nil {
		return Digest{}, fmt.Errorf("%w: sha256:%.80q is not a digest: %w", ErrFormat, s, err)
	}
	return d, nil
}

// String returns the digest as the image specification writes it: "sha256:" and 64 hexadecimal characters.
func (d Digest) String() string { return digestPrefix + d.Hex() }

// Hex returns the 64 hexadecimal characters alone.
func (d Digest) Hex() string { return hex.EncodeToString(d[:]) }

// IsZero tells whether d is unset. (No known content has the all-zero digest.)
func (d Digest) IsZero() bool { return d == Digest{} }

// FallbackTag returns the tag under which a registry without the referrers API keeps the index of d's referrers.
// https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#referrers-tag-schema
func (d Digest) FallbackTag() string { return "sha256-" + d.Hex() }

// MarshalText implements encoding.TextMarshaler.
func (d Digest) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler; errors are ParseDigest's.
func (d *Digest) UnmarshalText(b []byte) error {
	parsed, err := ParseDigest(string(b))
	if err != nil {
		return err
	}
	*d = parsed
	return nil
}
