package bundle

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"airgap/bundle/archive"
)

// Header is the config of the manifest index (FORMAT.md, "Header").
type Header struct {
	FormatVersion int      `json:"formatVersion"`
	Requires      []string `json:"requires"`            // features without which a reader must not go on
	Mirror        string   `json:"mirror"`              // the series of bundles that this one belongs to; "" for none
	Sequence      uint64   `json:"sequence"`            // place in that series; 0 for none
	Created       string   `json:"created"`             // RFC 3339, whole seconds, UTC
	Bases         []Base   `json:"bases"`               // the bundles that store what this one leaves out
	Completes     *Base    `json:"completes,omitempty"` // of a supplement: the bundle for which it was made
	Joined        Digest   `json:"joined,omitzero"`     // the delta of which this bundle is the whole
	Counts        Counts   `json:"counts"`
}

// Counts are the totals of the tables, in the header so that a person can be told before the tables are read.
type Counts struct {
	Roots       int   `json:"roots"`
	Manifests   int   `json:"manifests"` // rows, one for each way in which a root reaches a manifest
	Blobs       int   `json:"blobs"`     // rows, manifests among them
	Stored      int   `json:"stored"`    // blobs whose content is in the file
	StoredBytes int64 `json:"storedBytes"`
	Missing     int   `json:"missing,omitempty"` // rows
	Based       int   `json:"based,omitempty"`   // blobs that bases store
	BasedBytes  int64 `json:"basedBytes,omitempty"`
}

// CreatedTime returns Created as a time; ErrFormat where it is not what FORMAT.md says.
func (h *Header) CreatedTime() (time.Time, error) { return parseCreated(h.Created) }

func parseCreated(s string) (time.Time, error) {
	t, err := time.Parse(time.RFC3339, s)
	if err != nil || t.UTC().Format(time.RFC3339) != s || t.Unix() < 0 || t.Unix() > archive.MaxOctalSize {
		return time.Time{}, fmt.Errorf("%w: creation time %.40q is not RFC 3339 in UTC between 1970 and 2242", ErrFormat, s)
	}
	return t, nil
}

// The features that a header may require: what a reader that does not know them would get wrong.
const (
	featureBases        = "bases"         // blobs are left out that other bundles store
	featureJoined       = "joined"        // the header names the delta that was joined
	featureMissing      = "missing"       // there is a missing table
	featurePlatforms    = "platforms"     // roots have platforms and originals
	featureReferrerPath = "referrer-path" // roots have a repository for referrers
	featureSupplement   = "supplement"    // the header names the bundle that this one completes
	featureTrustedRoot  = "trusted-root"  // there is a trusted_root.json
	featureUsedBy       = "used-by"       // roots name the charts that use them
)

// features are all of them, sorted.
var features = []string{featureBases, featureJoined, featureMissing, featurePlatforms, featureReferrerPath, featureSupplement, featureTrustedRoot, featureUsedBy}

func (h *Header) check() error {
	bad := func(format string, args ...any) error {
		return fmt.Errorf("%w: header: "+format, append([]any{ErrFormat}, args...)...)
	}
	if h.FormatVersion != formatVersion {
		return fmt.Errorf("%w: bundle format %d; this airgap reads format %d: use the version of airgap that made the bundle, or a newer one", ErrUnsupported, h.FormatVersion, formatVersion)
	}
	for _, feature := range h.Requires {
		if !slices.Contains(features, feature) {
			return fmt.Errorf("%w: the bundle needs %.200q, which this airgap does not know: use a newer version", ErrUnsupported, feature)
		}
	}
	if err := h.checkSeries(); err != nil {
		return bad("%w", err)
	}
	c := h.Counts
	if c.Roots < 1 || c.Manifests < 1 || c.Blobs < 1 || c.Stored < 0 || c.Stored > c.Blobs || c.StoredBytes < 0 || c.Missing < 0 || c.Based < 0 || c.BasedBytes < 0 {
		return bad("counts %+v are not possible", c)
	}
	if c.Roots > MaxRootRows || c.Missing > MaxRootRows || c.Manifests > MaxManifestRows || c.Blobs > MaxBlobRows || c.StoredBytes > MaxFileSize {
		return bad("%w: counts %+v", ErrLimit, c)
	}
	return nil
}

// Base names a bundle that another one builds on (FORMAT.md, "Deltas"): its digest, and what its header says of it.
type Base struct {
	ManifestIndex Digest `json:"manifestIndex"`
	Mirror        string `json:"mirror"`   // "" for none
	Sequence      uint64 `json:"sequence"` // 0 for none
	Created       string `json:"created"`  // RFC 3339, whole seconds, UTC
}

// MaxBases is how many bundles one may build on.
const MaxBases = 4096

// Name says for people which bundle it is: "dhi@12", or its digest where it has no number.
func (b Base) Name() string {
	if b.Sequence == 0 {
		return b.ManifestIndex.String()
	}
	return fmt.Sprintf("%s@%d", b.Mirror, b.Sequence)
}

// String is the name with the day and the digest.
func (b Base) String() string {
	day, _, _ := strings.Cut(b.Created, "T")
	if b.Sequence == 0 {
		return b.Name() + " of " + day
	}
	return fmt.Sprintf("%s of %s, %s", b.Name(), day, b.ManifestIndex)
}

// CompareBases is the order of a header's bases.
func CompareBases(a, b Base) int {
	return cmp.Or(cmp.Compare(a.Mirror, b.Mirror), cmp.Compare(a.Sequence, b.Sequence),
		bytes.Compare(a.ManifestIndex[:], b.ManifestIndex[:]), cmp.Compare(a.Created, b.Created))
}

// checkNumber checks what a header, or a base, says of the series that a bundle belongs to.
func checkNumber(mirror string, sequence uint64, isSupplement bool) error {
	if mirror != "" {
		if err := CheckMirror(mirror); err != nil {
			return err
		}
	}
	switch {
	case isSupplement && (mirror == "" || sequence != 0):
		return errors.New("a supplement has the mirror of the bundle that it completes, and no sequence")
	case !isSupplement && (mirror == "") != (sequence == 0):
		return fmt.Errorf("mirror %q with sequence %d: one without the other", mirror, sequence)
	}
	return nil
}

// Check tells whether a header may say that of a bundle (FORMAT.md, "Deltas").
func (b *Base) Check() error {
	if b.ManifestIndex.IsZero() {
		return errors.New("a base without a digest")
	}
	if err := checkNumber(b.Mirror, b.Sequence, false); err != nil {
		return err
	}
	_, err := parseCreated(b.Created)
	return err
}

// checkSeries checks which series the bundle belongs to, and what it builds on.
func (h *Header) checkSeries() error {
	if err := checkNumber(h.Mirror, h.Sequence, h.Completes != nil); err != nil {
		return err
	}
	if _, err := h.CreatedTime(); err != nil {
		return err
	}
	if h.Completes != nil {
		if err := h.Completes.Check(); err != nil {
			return fmt.Errorf("completes: %w", err)
		}
		if h.Completes.Mirror != h.Mirror {
			return fmt.Errorf("a supplement of %s is of that mirror, and not of %q", h.Completes.Name(), h.Mirror)
		}
	}
	if !h.Joined.IsZero() && (h.Sequence == 0 || len(h.Bases) > 0) {
		return errors.New("only a whole bundle of a mirror can be a delta that was joined")
	}
	return h.checkBases()
}

func (h *Header) checkBases() error {
	if len(h.Bases) > MaxBases {
		return fmt.Errorf("%w: %d bases", ErrLimit, len(h.Bases))
	}
	seen := map[Digest]bool{}
	for i, base := range h.Bases {
		if err := base.Check(); err != nil {
			return fmt.Errorf("base %d: %w", i, err)
		}
		switch {
		case i > 0 && CompareBases(h.Bases[i-1], base) >= 0:
			return fmt.Errorf("the bases are out of order at %s", base)
		case seen[base.ManifestIndex]:
			return fmt.Errorf("the base %s is listed twice", base.ManifestIndex)
		case h.Completes != nil && base.ManifestIndex == h.Completes.ManifestIndex:
			return fmt.Errorf("a supplement cannot build on %s, which it completes", base.Name())
		case h.Sequence > 0 && base.Mirror == h.Mirror && base.Sequence >= h.Sequence:
			return fmt.Errorf("%s@%d cannot build on %s", h.Mirror, h.Sequence, base.Name())
		}
		seen[base.ManifestIndex] = true
	}
	return nil
}

// Base names the bundle with this header, given the digest of its manifest index.
func (h *Header) Base(manifestIndex Digest) Base {
	return Base{ManifestIndex: manifestIndex, Mirror: h.Mirror, Sequence: h.Sequence, Created: h.Created}
}

// Identity returns the digest by which the bundle with this header is known among those of its mirror and sequence, given that of
// its manifest index: a delta that was joined brings the same as the delta.
func (h *Header) Identity(manifestIndex Digest) Digest {
	if !h.Joined.IsZero() {
		return h.Joined
	}
	return manifestIndex
}

// EntryTag returns the tag under which a ledger or a record keeps the bundle with this header, given the digest of its manifest
// index: MIRROR-SEQUENCE, or one with the beginning of the digest where the bundle has no number of its own (FORMAT.md, "The ledger
// and the record").
func (h *Header) EntryTag(manifestIndex Digest) string {
	switch {
	case h.Mirror == "":
		return "bundle-" + manifestIndex.Hex()[:entryHex]
	case h.Sequence == 0:
		return SequenceTag(h.Mirror, h.Completes.Sequence) + "-" + manifestIndex.Hex()[:entryHex]
	}
	return SequenceTag(h.Mirror, h.Sequence)
}

// entryHex is how many hexadecimal characters of a digest keep entries apart.
const entryHex = 12
