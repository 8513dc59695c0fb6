package ledger_test

import (
	"bytes"
	"errors"
	"reflect"
	"strings"
	"testing"

	"airgap/bundle"
	"airgap/bundle/ledger"
)

func wanted() ledger.Want {
	stored := bundle.Base{ManifestIndex: bundle.Digest{9}, Mirror: "dhi", Sequence: 11, Created: "2026-11-14T09:00:00Z"}
	return ledger.Want{
		Completes: bundle.Base{ManifestIndex: bundle.Digest{8}, Mirror: "dhi", Sequence: 12, Created: "2026-11-21T09:00:00Z"},
		Blobs: []ledger.WantedBlob{
			{Digest: bundle.Digest{1}, Size: 5, StoredBy: stored, Manifests: []bundle.Digest{{3}, {4}}},
			{Digest: bundle.Digest{2}, StoredBy: stored, Manifests: []bundle.Digest{{4}}},
		},
	}
}

func TestWant(t *testing.T) {
	var written bytes.Buffer
	if err := wanted().Write(&written); err != nil {
		t.Fatal(err)
	}
	prefix := `{"format":"airgap-want/1","completes":{"manifestIndex":"sha256:08`
	if !strings.HasPrefix(written.String(), prefix) || !strings.HasSuffix(written.String(), "]}]}\n") {
		t.Errorf("written as %s", written.String())
	}
	read, err := ledger.ReadWant(&written)
	want := wanted()
	want.Format = "airgap-want/1"
	if err != nil || !reflect.DeepEqual(*read, want) {
		t.Errorf("%v, %+v", err, read)
	}
}

func TestWantRefused(t *testing.T) {
	for name, change := range map[string]func(*ledger.Want){
		"nothing":       func(w *ledger.Want) { w.Blobs = nil },
		"no bundle":     func(w *ledger.Want) { w.Completes = bundle.Base{} },
		"order":         func(w *ledger.Want) { w.Blobs[0].Digest = bundle.Digest{7} },
		"twice":         func(w *ledger.Want) { w.Blobs[1].Digest = w.Blobs[0].Digest },
		"size":          func(w *ledger.Want) { w.Blobs[0].Size = -1 },
		"no manifest":   func(w *ledger.Want) { w.Blobs[0].Manifests = nil },
		"manifests":     func(w *ledger.Want) { w.Blobs[0].Manifests[1] = w.Blobs[0].Manifests[0] },
		"stored by":     func(w *ledger.Want) { w.Blobs[0].StoredBy.Sequence = 0 },
		"another form":  func(w *ledger.Want) { w.Format = "airgap-want/2" },
		"unknown field": nil,
		"much":          nil,
		"trailing":      nil,
	} {
		t.Run(name, func(t *testing.T) {
			var written bytes.Buffer
			w := wanted()
			if err := w.Write(&written); err != nil {
				t.Fatal(err)
			}
			text := written.String()
			switch name {
			case "another form":
				text = strings.Replace(text, "want/1", "want/2", 1)
			case "unknown field":
				text = strings.Replace(text, `"blobs"`, `"tags":[],"blobs"`, 1)
			case "trailing":
				text += "{}"
			case "much":
				text += strings.Repeat(" ", ledger.MaxWantSize)
			default:
				change(&w)
				if err := w.Write(&written); !errors.Is(err, ledger.ErrWant) {
					t.Errorf("written: %v", err)
				}
				return
			}
			if read, err := ledger.ReadWant(strings.NewReader(text)); !errors.Is(err, ledger.ErrWant) {
				t.Errorf("%v, %+v", err, read)
			}
		})
	}
}

func FuzzReadWant(f *testing.F) {
	var written bytes.Buffer
	if err := wanted().Write(&written); err != nil {
		f.Fatal(err)
	}
	f.Add(written.Bytes())
	f.Add([]byte(`{"format":"airgap-want/1","blobs":[{}]}`))
	f.Fuzz(func(t *testing.T, content []byte) {
		read, err := ledger.ReadWant(bytes.NewReader(content))
		if err != nil {
			return
		}
		var again bytes.Buffer
		if err := read.Write(&again); err != nil {
			t.Fatal(err)
		}
		second, err := ledger.ReadWant(&again)
		if err != nil || !reflect.DeepEqual(read, second) {
			t.Errorf("%v: %+v and %+v", err, read, second)
		}
	})
}
