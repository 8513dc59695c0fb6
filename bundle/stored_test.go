package bundle

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"strings"
	"testing"

	"airgap/bundle/archive"
)

// packed is a codec whose stored bytes are not the content: gzip, of which the test says the size.
type packed struct{ size int64 }

func (p packed) storedSize(*Blob) int64 { return p.size }
func (packed) content(_ *Blob, stored io.Reader) (io.Reader, error) {
	return gzip.NewReader(stored)
}

func pack(t *testing.T, content string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := io.WriteString(w, content); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// Offsets and frames are made of stored sizes; digest and length that count are those of the content.
func TestStoredAndContentAreTwoThings(t *testing.T) {
	content := strings.Repeat("content ", 1000)
	stored := pack(t, content)
	right := Blob{Digest: DigestOf([]byte(content)), Size: int64(len(content)), Role: RoleLayer, Stored: "packed"}
	for _, test := range []struct {
		name    string
		blob    Blob
		stored  []byte
		problem error // nil for none
	}{
		{"as promised", right, stored, nil},
		{"other content", right, pack(t, strings.ToUpper(content)), ErrDigest},
		{"shorter content", right, pack(t, content[8:]), ErrFormat},
		{"more is stored than the content needs", right, append(bytes.Clone(stored), 1), ErrFormat},
		{"the stored bytes themselves", Blob{Digest: DigestOf(stored), Size: int64(len(stored)), Role: RoleLayer, Stored: "packed"}, stored, ErrDigest},
	} {
		t.Run(test.name, func(t *testing.T) {
			codecs["packed"] = packed{int64(len(test.stored))}
			defer delete(codecs, "packed")
			l := Layout{contents: &Contents{Blobs: []Blob{test.blob}}, headSize: 512}
			if err := l.placeBlobs(nil); err != nil {
				t.Fatal(err)
			}
			start, end := l.entry(0)
			if want := archive.EntrySize(int64(len(test.stored))); start != l.headSize || end-start != want || l.size != end+archive.TrailerSize {
				t.Errorf("the entry is at %d to %d of %d; it should have %d bytes", start, end, l.size, want)
			}
			var entry bytes.Buffer
			entry.Write(l.rowHeader(0))
			entry.Write(test.stored)
			entry.Write(zeros[:archive.Padding(int64(len(test.stored)))])
			got, err := io.ReadAll(newBlobReader(&test.blob, l.rowHeader(0), &entry, archive.Padding(int64(len(test.stored)))))
			if !errors.Is(err, test.problem) {
				t.Fatalf("%v, want %v", err, test.problem)
			}
			if err == nil && string(got) != content {
				t.Errorf("%d bytes, want %d", len(got), len(content))
			}
		})
	}
}
