package record

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"time"

	"airgap/bundle"
	"airgap/bundle/ledger"
	"airgap/bundle/strictjson"
)

// Media types of import records (FORMAT.md, "Import records").
const (
	artifactType    = "application/vnd.airgap.import.v1"
	planType        = "application/vnd.airgap.import-plan.v1"
	mediaTypeImport = "application/vnd.airgap.import.v1+json"
	mediaTypePlaced = "application/vnd.airgap.placed.v1+jsonl"
	importFormat    = "airgap-import/1"
)

// Bounds on what is read.
const (
	maxImportSize = 64 << 10 // bytes of the config
	maxImports    = 2000     // of one bundle, with their plans
)

// Import is what an import did, or is about to do.
type Import struct {
	Format       string        `json:"format"` // Plan and Done set it
	Bundle       bundle.Digest `json:"bundle"` // the manifest index
	Mirror       string        `json:"mirror"`
	Sequence     uint64        `json:"sequence"`
	Destination  string        `json:"destination"` // REGISTRY[/PREFIX]
	Started      time.Time     `json:"started"`
	Finished     time.Time     `json:"finished,omitzero"` // zero: a plan
	Account      string        `json:"account"`           // "" where none is known
	Version      string        `json:"version"`           // of airgap
	Complete     bool          `json:"complete"`          // all that was to be brought is there, and was read back
	Partial      bool          `json:"partial"`           // that was a part of the bundle only
	AllowedOlder bool          `json:"allowedOlder"`      // see Rules
	Counts       Counts        `json:"counts"`            // Plan and Done count
	Plan         bundle.Digest `json:"plan,omitzero"`     // that it followed; zero for none
}

// IsPlan tells whether it is what an import was about to do that never told its end: any of that may have been done.
func (i *Import) IsPlan() bool { return i.Finished.IsZero() }

// told is when the record got it.
func (i *Import) told() time.Time {
	if i.IsPlan() {
		return i.Started
	}
	return i.Finished
}

// IsWhole tells whether everything in the bundle is there, but for what did not meet the policy.
func (i *Import) IsWhole() bool { return i.Complete && !i.Partial }

// Counts are rows by their outcome.
type Counts struct {
	New       int `json:"new"`
	Moved     int `json:"moved"`
	Unchanged int `json:"unchanged"`
	LeftOut   int `json:"leftOut"`
	Failing   int `json:"failing,omitempty"` // of those left out
}

// add counts a row; false for one with an unknown outcome.
func (c *Counts) add(p *Placed) bool {
	switch p.Outcome {
	case New:
		c.New++
	case Moved:
		c.Moved++
	case Unchanged:
		c.Unchanged++
	case LeftOut:
		c.LeftOut++
	default:
		return false
	}
	if p.Failing {
		c.Failing++
	}
	return true
}

// Outcome is what became of a root.
type Outcome string

// The values of Outcome.
const (
	New       Outcome = "new"       // there was no such tag, or, without a tag, no such manifest
	Moved     Outcome = "moved"     // the tag had something else
	Unchanged Outcome = "unchanged" // it was there
	LeftOut   Outcome = "left out"
)

// Placed is where a root went.
type Placed struct {
	Root       int           `json:"root"`                 // row of the roots table
	Repository string        `json:"repository,omitempty"` // without the registry; "" if it was left out
	Tag        string        `json:"tag,omitempty"`
	Digest     bundle.Digest `json:"digest"`
	Before     bundle.Digest `json:"before,omitzero"` // what the tag had, where that was something else and is known
	Outcome    Outcome       `json:"outcome"`
	Failing    bool          `json:"failing,omitempty"` // it was left out because it did not meet the policy
}

// check checks the row that stands in place row.
func (p *Placed) check(row int) error {
	switch {
	case p.Root != row:
		return fmt.Errorf("root %d in the place of %d", p.Root, row)
	case p.Digest.IsZero():
		return errors.New("no digest")
	case (p.Outcome == LeftOut) != (p.Repository == ""):
		return fmt.Errorf("%q with the repository %.100q", p.Outcome, p.Repository)
	case p.Failing && p.Outcome != LeftOut:
		return fmt.Errorf("%q though it is failing", p.Outcome)
	case p.Outcome == LeftOut:
		return nil
	}
	if err := bundle.CheckPath(p.Repository); err != nil {
		return err
	}
	if p.Tag == "" {
		return nil
	}
	return bundle.CheckTag(p.Tag)
}

// Plan adds to a record what an import is about to do, before it moves tags: if it never comes to Done, this is what it may have
// brought. Its digest is for Import.Plan. The rest is as with Done.
func Plan(ctx context.Context, repo ledger.Repository, bundleIndex bundle.Descriptor, i Import, rows iter.Seq[Placed]) (bundle.Digest, error) {
	i.Finished, i.Complete = time.Time{}, false
	plan, err := put(ctx, repo, bundleIndex, i, rows)
	if err != nil {
		return plan, fmt.Errorf("record %s: %w", repo, err)
	}
	return plan, nil
}

// Done adds what an import did to a record. bundleIndex describes the manifest index, which Keep has put there. rows are those of all
// roots in order; they are gone through twice.
func Done(ctx context.Context, repo ledger.Repository, bundleIndex bundle.Descriptor, i Import, rows iter.Seq[Placed]) error {
	if _, err := put(ctx, repo, bundleIndex, i, rows); err != nil {
		return fmt.Errorf("record %s: %w", repo, err)
	}
	return nil
}

func put(ctx context.Context, repo ledger.Repository, bundleIndex bundle.Descriptor, i Import, rows iter.Seq[Placed]) (d bundle.Digest, err error) {
	i.Format, i.Counts = importFormat, Counts{}
	i.Started, i.Finished = i.Started.UTC().Truncate(time.Second), i.Finished.UTC().Truncate(time.Second)
	h, size := sha256.New(), counter(0)
	if err := writeRows(io.MultiWriter(h, &size), rows, &i.Counts); err != nil {
		return d, err
	}
	placed := bundle.Object{
		Descriptor: bundle.Descriptor{
			MediaType: mediaTypePlaced, Digest: bundle.Digest(h.Sum(nil)), Size: int64(size),
			Annotations: map[string]string{"org.opencontainers.image.title": "placed.jsonl"},
		},
		Write: func(w io.Writer) error { return writeRows(w, rows, &Counts{}) },
	}
	config, err := object(mediaTypeImport, i)
	if err != nil {
		return d, err
	}
	manifest, err := object(bundle.MediaTypeOCIManifest, bundle.Manifest{
		SchemaVersion: 2, MediaType: bundle.MediaTypeOCIManifest, ArtifactType: i.artifactType(),
		Config: &config.Descriptor, Layers: []bundle.Descriptor{placed.Descriptor},
		Subject:     &bundle.Descriptor{MediaType: bundleIndex.MediaType, Digest: bundleIndex.Digest, Size: bundleIndex.Size},
		Annotations: map[string]string{"org.opencontainers.image.created": i.told().Format(time.RFC3339)},
	})
	if err != nil {
		return d, err
	}
	for _, blob := range []bundle.Object{config, placed} {
		if err := repo.PutBlob(ctx, blob); err != nil {
			return d, err
		}
	}
	return manifest.Digest, repo.PutManifest(ctx, manifest, "")
}

func (i *Import) artifactType() string {
	if i.IsPlan() {
		return planType
	}
	return artifactType
}

type counter int64

func (c *counter) Write(p []byte) (int, error) {
	*c += counter(len(p))
	return len(p), nil
}

// writeRows writes rows, and counts them.
func writeRows(w io.Writer, rows iter.Seq[Placed], counts *Counts) error {
	buffered := bufio.NewWriter(w)
	row := 0
	for p := range rows {
		if err := p.check(row); err != nil || !counts.add(&p) {
			return fmt.Errorf("row %d, %q: %w", row, p.Outcome, errors.Join(bundle.ErrFormat, err))
		}
		line, err := marshal(p)
		if err == nil {
			_, err = buffered.Write(append(line, '\n'))
		}
		if err != nil {
			return err
		}
		row++
	}
	return buffered.Flush()
}

// marshal writes JSON as FORMAT.md has it.
func marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte{'\n'}), nil
}

func object(mediaType string, v any) (bundle.Object, error) {
	content, err := marshal(v)
	return bundle.Object{
		Descriptor: bundle.Descriptor{MediaType: mediaType, Digest: bundle.DigestOf(content), Size: int64(len(content))},
		Write: func(w io.Writer) error {
			_, err := w.Write(content)
			return err
		},
	}, err
}

func parseImport(content []byte) (*Import, error) {
	var i Import
	if err := strictjson.UnmarshalExact(content, &i); err != nil {
		return nil, fmt.Errorf("%w: import record: %w", bundle.ErrFormat, err)
	}
	if i.Format != importFormat {
		return nil, fmt.Errorf("%w: an import record of the format %.60q", bundle.ErrUnsupported, i.Format)
	}
	if i.IsPlan() && (i.Complete || !i.Plan.IsZero()) {
		return nil, fmt.Errorf("%w: import record: a plan that says what became of it", bundle.ErrFormat)
	}
	return &i, nil
}

// Imported is an import that a record tells of.
type Imported struct {
	Import

	repo   ledger.Repository
	placed bundle.Descriptor
}

// Imports returns what imports of a bundle a repository tells of, the oldest first: of each its end or, if it never told that, its
// plan. What is broken is passed over.
func Imports(ctx context.Context, repo ledger.Repository, index bundle.Digest) ([]*Imported, error) {
	all, err := imports(ctx, repo, index)
	if err != nil {
		return nil, fmt.Errorf("record %s: %w", repo, err)
	}
	return all, nil
}
