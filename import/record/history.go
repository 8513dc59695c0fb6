// Package record is the memory of a target: which bundles were imported there, and what became of them (FORMAT.md, "The ledger and
// the record"). It is kept at the target itself, in a repository.
//
// An import goes like this, where repo is repository.New of what Place has found, or of what the user named:
//
//	history, err := record.Open(ctx, repo, trust, header.Mirror)    // lists tags
//	older, err := history.Admit(ctx, header, index, record.Rules{…}) // before the first write; history may be nil: no record is kept
//	…                                                               // all blobs and manifests are at the target
//	err = record.Keep(ctx, repo, b.Artifact(), header)              // before tags move: from now on older bundles are refused
//	plan, err := record.Plan(ctx, repo, b.Artifact().Index.Descriptor, record.Import{…}, rows) // unless nothing changes
//	…                                                               // tags move, and are read back
//	err = record.Done(ctx, repo, b.Artifact().Index.Descriptor, record.Import{…}, rows)
//
// What a record says of bundles is believed only where a trusted key signed it.
package record

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"

	"airgap/bundle"
	"airgap/bundle/ledger"
	"airgap/verify"
	"airgap/verify/party"
	"airgap/verify/proof"
	"airgap/verify/signature"
)

// History is what a record has of one mirror, or of all. It reads what it is asked for, and keeps that.
type History struct {
	ledger ledger.Ledger
	trust  verify.Trust
	tags   []entryTag // the newest first
	read   map[string]*Entry
	doubts []Doubt
}

// Entry is a bundle that has been imported, and that a trusted key signed.
type Entry struct {
	Tag           string
	ManifestIndex bundle.Digest
	Header        *bundle.Header
	Signers       []party.Signer // those that are trusted

	head   *verify.Head
	ledger ledger.Ledger
}

// Base names the bundle.
func (e *Entry) Base() bundle.Base { return e.Header.Base(e.ManifestIndex) }

// Identity is the digest by which the bundle is known among those of its mirror and sequence.
func (e *Entry) Identity() bundle.Digest { return e.Header.Identity(e.ManifestIndex) }

// Contents reads the tables of the bundle.
func (e *Entry) Contents(ctx context.Context) (*bundle.Contents, error) {
	contents, err := e.head.Contents(ctx)
	if err != nil {
		return nil, fmt.Errorf("%s:%s: %w", e.ledger, e.Tag, err)
	}
	return contents, nil
}

// Imports returns what imports of the bundle the record tells of, the oldest first.
func (e *Entry) Imports(ctx context.Context) ([]*Imported, error) {
	return Imports(ctx, e.ledger, e.ManifestIndex)
}

// Doubt is an entry that is not believed.
type Doubt struct {
	Tag    string
	Reason error
}

// maxDoubts bounds how many entries are looked at that nobody who is trusted has signed.
const maxDoubts = 1000

// entryTag is a tag under which a bundle may be kept, and the number that it then has; of a supplement, that of what it completes.
type entryTag struct {
	tag, mirror string
	sequence    uint64
}

var (
	numberedTag = regexp.MustCompile(`^(.+)-([0-9]{6,20})$`)
	besideTag   = regexp.MustCompile(`^(.+)-([0-9]{6,20})-[0-9a-f]{12}$`)
	unnamedTag  = regexp.MustCompile(`^bundle-[0-9a-f]{12}$`)
)

// parseTag reads a tag of FORMAT.md, "The ledger and the record". One that ends in a dozen digits can be read in two ways; the header
// will tell.
func parseTag(tag string) (ways []entryTag) {
	if unnamedTag.MatchString(tag) {
		ways = append(ways, entryTag{tag: tag})
	}
	for _, pattern := range []*regexp.Regexp{numberedTag, besideTag} {
		parts := pattern.FindStringSubmatch(tag)
		if parts == nil || bundle.CheckMirror(parts[1]) != nil {
			continue
		}
		if sequence, err := strconv.ParseUint(parts[2], 10, 64); err == nil {
			ways = append(ways, entryTag{tag, parts[1], sequence})
		}
	}
	return ways
}

// of tells whether a header has the number.
func (t entryTag) of(header *bundle.Header) bool {
	sequence := header.Sequence
	if header.Completes != nil {
		sequence = header.Completes.Sequence
	}
	return t.mirror == header.Mirror && t.sequence == sequence
}

// Open lists what a repository has of a mirror, or of all where mirror is "". A repository that is not there is empty. One signature of
// those whom trust asks for is enough (verify.Trust.OfBases).
func Open(ctx context.Context, repo ledger.Repository, trust verify.Trust, mirror string) (*History, error) {
	tags, err := repo.Tags(ctx)
	if err != nil {
		return nil, fmt.Errorf("record %s: %w", repo, err)
	}
	h := &History{ledger: ledger.Ledger{Repository: repo}, trust: trust.OfBases(), read: map[string]*Entry{}}
	for _, tag := range tags {
		for _, t := range parseTag(tag) {
			if mirror == "" || t.mirror == mirror {
				h.tags = append(h.tags, t)
			}
		}
	}
	slices.SortFunc(h.tags, func(a, b entryTag) int {
		return cmp.Or(cmp.Compare(a.mirror, b.mirror), cmp.Compare(b.sequence, a.sequence), cmp.Compare(a.tag, b.tag))
	})
	return h, nil
}

// String names the repository.
func (h *History) String() string { return h.ledger.String() }

// IsEmpty tells whether there is nothing, believed or not.
func (h *History) IsEmpty() bool { return len(h.tags) == 0 }

// Doubts are the entries that were met and are not believed.
func (h *History) Doubts() []Doubt { return h.doubts }

// Entries reads all entries, by mirror, the newest bundle first.
func (h *History) Entries(ctx context.Context) (entries []*Entry, err error) {
	for _, t := range h.tags {
		e, err := h.entry(ctx, t)
		if err != nil {
			return nil, err
		}
		if e != nil {
			entries = append(entries, e)
		}
	}
	return entries, nil
}

// Newest returns the entries of a mirror with the largest sequence: more than one where several bundles with that number were let
// in. None where the record has nothing of it that is believed.
func (h *History) Newest(ctx context.Context, mirror string) (newest []*Entry, err error) {
	for _, t := range h.tags {
		if t.mirror != mirror {
			continue
		}
		if len(newest) > 0 && t.sequence < newest[0].Header.Sequence {
			break
		}
		e, err := h.entry(ctx, t)
		if err != nil {
			return nil, err
		}
		if e != nil && e.Header.Sequence > 0 { // supplements have no number
			newest = append(newest, e)
		}
	}
	return newest, nil
}

// entry reads what is under a tag; nil where it is not believed, or the bundle has another number.
func (h *History) entry(ctx context.Context, t entryTag) (*Entry, error) {
	e, known := h.read[t.tag]
	if !known {
		var err error
		if e, err = h.readEntry(ctx, t.tag); err != nil {
			return nil, err
		}
		h.read[t.tag] = e
	}
	if e == nil || !t.of(e.Header) {
		return nil, nil
	}
	return e, nil
}

func (h *History) readEntry(ctx context.Context, tag string) (*Entry, error) {
	e, err := open(ctx, h.ledger, h.trust, tag)
	if isDoubtful(err) {
		h.doubts = append(h.doubts, Doubt{tag, err})
		if len(h.doubts) > maxDoubts {
			return nil, fmt.Errorf("record %s: %w: more than %d entries that no trusted key signed", h, bundle.ErrLimit, maxDoubts)
		}
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("record: %w", err)
	}
	return e, nil
}

// isDoubtful tells whether err is about what is in the record, and not about reading it.
func isDoubtful(err error) bool {
	return slices.ContainsFunc([]error{
		signature.ErrUntrustedKey, signature.ErrMissing, signature.ErrMalformed, signature.ErrWrongPredicate, signature.ErrWrongSubject, proof.ErrRevoked, verify.ErrScope,
		bundle.ErrFormat, bundle.ErrDigest, bundle.ErrLimit, bundle.ErrUnsupported, bundle.ErrNotFound,
	}, func(kind error) bool { return errors.Is(err, kind) })
}

func open(ctx context.Context, l ledger.Ledger, trust verify.Trust, tag string) (*Entry, error) {
	read, err := l.Head(ctx, tag)
	if err != nil {
		return nil, err
	}
	head, err := verify.OpenHead(ctx, read, trust)
	if err != nil {
		return nil, err
	}
	header := head.Header()
	e := &Entry{Tag: tag, ManifestIndex: head.ManifestIndex(), Header: header, Signers: head.Signers(), head: head, ledger: l}
	if tag != header.EntryTag(e.ManifestIndex) && tag != otherTag(header, e.ManifestIndex) {
		return nil, fmt.Errorf("%w: %s:%s: the bundle says that it is %s", bundle.ErrFormat, l, tag, header.EntryTag(e.ManifestIndex))
	}
	return e, nil
}

// otherTag is where a bundle is kept when another has its number.
func otherTag(header *bundle.Header, index bundle.Digest) string {
	return header.EntryTag(index) + "-" + index.Hex()[:12]
}

// Keep puts the head of a bundle into a record. A bundle that is there already stays as it is; where another has its number, which
// Admit has been told to allow, this one is kept beside it.
func Keep(ctx context.Context, repo ledger.Repository, a bundle.Artifact, header *bundle.Header) error {
	l := ledger.Ledger{Repository: repo}
	err := l.Put(ctx, header.EntryTag(a.Index.Digest), a)
	if errors.Is(err, ledger.ErrTaken) {
		err = l.Put(ctx, otherTag(header, a.Index.Digest), a)
	}
	if err != nil {
		return fmt.Errorf("record: %w", err)
	}
	return nil
}
