package verify

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"airgap/bundle"
)

func zipped(t *testing.T, content []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write(content); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func zstandard(t *testing.T, content []byte, options ...zstd.EOption) []byte {
	t.Helper()
	w, err := zstd.NewWriter(nil, options...)
	if err != nil {
		t.Fatal(err)
	}
	return w.EncodeAll(content, nil)
}

func TestUnpackedDigest(t *testing.T) {
	content := bytes.Repeat([]byte("layer\n"), 10_000)
	gz, zs := zipped(t, content), zstandard(t, content)
	for _, test := range []struct {
		name    string
		packed  []byte
		limit   int64
		problem string // "" for none
	}{
		{"plain", content, 1 << 20, ""},
		{"gzip", gz, 1 << 20, ""},
		{"zstd", zs, 1 << 20, ""},
		{"gzip of two members", append(zipped(t, content[:100]), zipped(t, content[100:])...), 1 << 20, ""},
		{"zstd of two frames", append(zstandard(t, content[:100]), zstandard(t, content[100:])...), 1 << 20, ""},
		{"gzip of exactly the limit", gz, int64(len(content)), ""},
		{"gzip over the limit", gz, int64(len(content)) - 1, "unpacks to more than"},
		{"zstd over the limit", zs, int64(len(content)) - 1, "unpacks to more than"},
		{"gzip cut short", gz[:len(gz)-3], 1 << 20, "unexpected EOF"},
		{"zstd cut short", zs[:len(zs)-3], 1 << 20, "unexpected EOF"},
		{"gzip with something behind", append(bytes.Clone(gz), "garbage garbage"...), 1 << 20, "gzip"},
		{"zstd with something behind", append(bytes.Clone(zs), "garbage garbage"...), 1 << 20, "magic"},
		{"gzip with a flipped bit", flip(gz, len(gz)-6), 1 << 20, "gzip"},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := unpackedDigest(bufio.NewReader(bytes.NewReader(test.packed)), test.limit)
			switch {
			case test.problem == "" && err != nil:
				t.Error(err)
			case test.problem == "" && got != bundle.DigestOf(content):
				t.Errorf("unpacked to %s, want %s", got, bundle.DigestOf(content))
			case test.problem != "" && (err == nil || !strings.Contains(err.Error(), test.problem)):
				t.Errorf("error %v, want one with %q", err, test.problem)
			}
		})
	}
}

func flip(b []byte, at int) []byte {
	b = bytes.Clone(b)
	b[at] ^= 1
	return b
}

func TestHugeWindowIsRefused(t *testing.T) {
	pr, pw := io.Pipe()
	go func() {
		w, err := zstd.NewWriter(pw, zstd.WithWindowSize(64<<20), zstd.WithSingleSegment(false))
		if err == nil {
			_, err = io.Copy(w, io.LimitReader(zeros{}, 128<<20))
			err = errors.Join(err, w.Close())
		}
		pw.CloseWithError(err)
	}()
	_, err := unpackedDigest(bufio.NewReader(pr), 1<<30)
	_ = pr.Close()
	if !errors.Is(err, bundle.ErrLimit) {
		t.Errorf("a window of 64 MiB: %v", err)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}
