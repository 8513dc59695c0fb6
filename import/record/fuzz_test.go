package record

import (
	"bytes"
	"errors"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"airgap/bundle"
	"airgap/bundle/ledger"
	"airgap/bundle/ledger/ledgertest"
)

// What is read of an import record is refused, or is what would be written.
func FuzzParseImport(f *testing.F) {
	at := time.Unix(1_700_000_000, 0).UTC()
	seed, err := marshal(Import{Format: importFormat, Bundle: bundle.EmptyJSON, Mirror: "dhi", Sequence: 12, Destination: "harbor/lab", Started: at, Finished: at, Account: "robot$lab", Version: "v1", Complete: true, Counts: Counts{New: 1}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(seed)
	f.Add([]byte(`{"format":"airgap-import/2"}`))
	f.Add([]byte(`{"format":"airgap-import/1","Format":"airgap-import/1"}`))
	f.Fuzz(func(t *testing.T, content []byte) {
		i, err := parseImport(content)
		if err != nil {
			if !errors.Is(err, bundle.ErrFormat) && !errors.Is(err, bundle.ErrUnsupported) {
				t.Error(err)
			}
			return
		}
		written, err := marshal(i)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := parseImport(written); err != nil || *again != *i && !again.Started.Equal(i.Started) {
			t.Errorf("%+v became %+v: %v", i, again, err)
		}
	})
}

// Rows are refused, or are those of the bundle.
func FuzzReadRows(f *testing.F) {
	a := ledgertest.Of(f, ledgertest.Key, bundle.PlanOptions{Mirror: "dhi", Sequence: 1}, ledgertest.Image{Path: "acme/app", Tag: "1", Text: "x"}, ledgertest.Image{Path: "acme/app", Tag: "2", Text: "y"})
	l := ledger.Ledger{Repository: ledger.Directory(filepath.Join(f.TempDir(), "ledger"))}
	if err := l.Put(f.Context(), "dhi-000001", a); err != nil {
		f.Fatal(err)
	}
	head, err := l.Head(f.Context(), "dhi-000001")
	if err != nil {
		f.Fatal(err)
	}
	contents, err := head.Contents(f.Context())
	if err != nil {
		f.Fatal(err)
	}
	rows := []Placed{
		{Root: 0, Repository: "lab/acme/app", Tag: "1", Digest: contents.Root(0).Digest, Before: bundle.EmptyJSON, Outcome: Moved},
		{Root: 1, Digest: contents.Root(1).Digest, Outcome: LeftOut},
	}
	var seed bytes.Buffer
	if err := writeRows(&seed, slices.Values(rows), &Counts{}); err != nil {
		f.Fatal(err)
	}
	f.Add(seed.Bytes())
	f.Add(bytes.Repeat([]byte("x"), bundle.MaxLineSize+1))
	f.Add(bytes.Replace(seed.Bytes(), []byte(`"1"`), []byte(`"../1"`), 1))
	f.Fuzz(func(t *testing.T, content []byte) {
		n := 0
		err := readRows(bytes.NewReader(content), contents, func(p Placed) error {
			if p.Root != n || p.Digest != contents.Root(n).Digest || p.check(n) != nil {
				t.Errorf("%+v", p)
			}
			n++
			return nil
		})
		if err == nil && n != 2 || err != nil && !errors.Is(err, bundle.ErrFormat) {
			t.Error(n, err)
		}
	})
}
