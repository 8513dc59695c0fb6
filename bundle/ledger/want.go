package ledger

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"

	"airgap/bundle"
	"airgap/bundle/strictjson"
)

// Want is what the receiver of a bundle turned out to lack of what it leaves out (FORMAT.md, "What is wanted").
type Want struct {
	Format    string       `json:"format"` // of a Want that is written: see Write
	Completes bundle.Base  `json:"completes"`
	Blobs     []WantedBlob `json:"blobs"` // by digest
}

// WantedBlob is one blob of a Want.
type WantedBlob struct {
	Digest    bundle.Digest   `json:"digest"`
	Size      int64           `json:"size"` // bytes
	StoredBy  bundle.Base     `json:"storedBy"`
	Manifests []bundle.Digest `json:"manifests"` // of the bundle that is to be completed, which list the blob; sorted
}

// MaxWantSize is how large a Want may be as it is written, in bytes.
const MaxWantSize = 64 << 20

const wantFormat = "airgap-want/1"

// ErrWant: a file is no list of what is wanted.
var ErrWant = errors.New("this is not a list of wanted blobs")

// Write writes w, whose Format need not be set; bundle.ErrLimit where it would be too large to be read.
func (w Want) Write(out io.Writer) error {
	w.Format = wantFormat
	if err := w.check(); err != nil {
		return err
	}
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(w); err != nil {
		return err
	}
	if b.Len() > MaxWantSize {
		return fmt.Errorf("%w: the list of %d wanted blobs would have %d bytes: ask for a full bundle instead", bundle.ErrLimit, len(w.Blobs), b.Len())
	}
	_, err := out.Write(b.Bytes())
	return err
}

// ReadWant reads what Write wrote, of at most MaxWantSize bytes. Anything else is an error that wraps ErrWant. A Want is not signed:
// the bundle that it names says what it may ask for.
func ReadWant(in io.Reader) (*Want, error) {
	content, err := io.ReadAll(io.LimitReader(in, MaxWantSize+1))
	switch {
	case err != nil:
		return nil, err
	case len(content) > MaxWantSize:
		return nil, fmt.Errorf("%w: it has more than %d bytes", ErrWant, MaxWantSize)
	}
	var w Want
	if err := strictjson.UnmarshalExact(content, &w); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrWant, err)
	}
	if err := w.check(); err != nil {
		return nil, err
	}
	return &w, nil
}

func (w *Want) check() error {
	if w.Format != wantFormat {
		return fmt.Errorf("%w: it has the format %.40q, and %q is known", ErrWant, w.Format, wantFormat)
	}
	if err := w.Completes.Check(); err != nil {
		return fmt.Errorf("%w: completes: %w", ErrWant, err)
	}
	if len(w.Blobs) == 0 {
		return fmt.Errorf("%w: it asks for nothing", ErrWant)
	}
	for i := range w.Blobs {
		b := &w.Blobs[i]
		if i > 0 && bytes.Compare(w.Blobs[i-1].Digest[:], b.Digest[:]) >= 0 {
			return fmt.Errorf("%w: it is out of order at %s", ErrWant, b.Digest)
		}
		if err := b.check(); err != nil {
			return fmt.Errorf("%w: %s: %w", ErrWant, b.Digest, err)
		}
	}
	return nil
}

func (b *WantedBlob) check() error {
	before := func(a, b bundle.Digest) int { return bytes.Compare(a[:], b[:]) }
	switch {
	case b.Digest.IsZero():
		return errors.New("no digest")
	case b.Size < 0 || b.Size > bundle.MaxBlobSize:
		return fmt.Errorf("%d bytes", b.Size)
	case len(b.Manifests) == 0:
		return errors.New("no manifest lists it")
	case !slices.IsSortedFunc(b.Manifests, before) || len(slices.Compact(slices.Clone(b.Manifests))) < len(b.Manifests):
		return errors.New("its manifests are out of order")
	}
	return b.StoredBy.Check()
}
