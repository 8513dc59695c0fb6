package ledger_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"airgap/bundle"
	"airgap/bundle/ledger"
	"airgap/bundle/ledger/ledgertest"
)

// What is read as a receipt is written again to the same.
func FuzzReadReceipt(f *testing.F) {
	received := ledger.Received{Mirror: "dhi", Sequence: 12, Identity: bundle.DigestOf([]byte("a")), Created: "2023-11-14T22:13:20Z", Images: 3, There: 3}
	for _, receipt := range []*ledger.Receipt{
		ledger.NewReceipt("harbor.example.com/dhi", time.Unix(1_700_000_000, 0), &received, nil),
		ledger.NewReceipt("harbor.example.com", time.Unix(1_700_000_000, 0), nil, []ledger.Received{received}),
	} {
		var written bytes.Buffer
		if err := receipt.Write(&written); err != nil {
			f.Fatal(err)
		}
		f.Add(written.Bytes())
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		read, err := ledger.ReadReceipt(bytes.NewReader(content))
		if err != nil {
			if !errors.Is(err, ledger.ErrReceipt) {
				t.Fatalf("undocumented error: %v", err)
			}
			return
		}
		var again bytes.Buffer
		if err := read.Write(&again); err != nil {
			t.Fatal(err)
		}
		second, err := ledger.ReadReceipt(&again)
		if err != nil || !reflect.DeepEqual(read, second) {
			t.Errorf("%v: %+v and %+v", err, read, second)
		}
	})
}

// A line that is understood is understood in the same way when it is said again.
func FuzzParseLine(f *testing.F) {
	f.Add(ledger.LineOf("dhi", 12, bundle.DigestOf([]byte("a"))).String())
	f.Add("dhi@12")
	f.Add("dhi@12 sha256:1f3a9c0b2d4e...")
	f.Fuzz(func(t *testing.T, said string) {
		line, err := ledger.ParseLine(said)
		if err != nil {
			if !errors.Is(err, ledger.ErrLine) {
				t.Fatalf("undocumented error: %v", err)
			}
			return
		}
		if again, err := ledger.ParseLine(line.String()); err != nil || again != line {
			t.Errorf("%q is %+v, and then %+v (%v)", said, line, again, err)
		}
	})
}

// Whatever a directory has as its index, it is refused, or the heads that it lists are.
func FuzzDirectory(f *testing.F) {
	dir := f.TempDir()
	l := ledger.Ledger{Repository: ledger.Directory(dir)}
	for sequence := range uint64(3) {
		if err := l.Put(f.Context(), ledger.Entry{Mirror: "dhi", Sequence: sequence + 1}.Tag(), ledgertest.New(f, "dhi", sequence+1, "x")); err != nil {
			f.Fatal(err)
		}
	}
	index := filepath.Join(dir, "index.json")
	written, err := os.ReadFile(index)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(written)
	f.Add(bytes.ReplaceAll(written, []byte("dhi-000001"), []byte("dhi-000002")))
	f.Fuzz(func(t *testing.T, content []byte) {
		if err := os.WriteFile(index, content, 0o600); err != nil {
			t.Fatal(err)
		}
		entries, err := l.Entries(t.Context(), "")
		if err != nil {
			return
		}
		for i, entry := range entries {
			if i > 0 && entry == entries[i-1] {
				t.Errorf("%s is listed twice", entry.Tag())
			}
			head, err := l.Head(t.Context(), entry.Tag())
			if err != nil {
				continue
			}
			if _, err := head.Contents(t.Context()); err != nil && !errors.Is(err, bundle.ErrNotFound) && !errors.Is(err, bundle.ErrFormat) && !errors.Is(err, bundle.ErrDigest) {
				t.Errorf("%s: %v", entry.Tag(), err)
			}
		}
	})
}
