package bundle_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"airgap/bundle"
	"airgap/bundle/disk"
)

// left begins the world's bundle at a path, writes the rows that wanted allows, and leaves it.
func (w *world) left(t *testing.T, wanted func(row int, b bundle.Blob) bool) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "bundle.tar")
	layout := w.plan(t)
	writer, err := createFile(path, layout)
	if err != nil {
		t.Fatal(err)
	}
	for row, b := range layout.Contents().Blobs {
		if !layout.HasEntry(row) || !wanted(row, b) {
			continue
		}
		w.writeRow(t, writer, layout, row)
	}
	if err := writer.Leave(); err != nil {
		t.Fatal(err)
	}
	return path
}

// openPartial opens what was left at a path.
func openPartial(path string) (*bundle.Partial, error) {
	f, err := bundle.ReopenFile(path)
	if err != nil {
		return nil, err
	}
	return bundle.OpenPartial(f)
}

func (w *world) writeRow(t *testing.T, writer *bundle.Writer, layout *bundle.Layout, row int) {
	t.Helper()
	out, err := writer.Blob(row)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := out.Write(w.blobs[layout.Contents().Blobs[row].Digest]); err != nil {
		t.Fatal(err)
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
}

// Whatever is there of the blobs, the finished file is the one that a single run makes; what was spoilt meanwhile is
// written again.
func TestContinue(t *testing.T) {
	w := newWorld()
	want := w.stream(t)
	blobs := w.plan(t).Contents().Blobs
	for upTo := range len(blobs) + 1 {
		path := w.left(t, func(row int, b bundle.Blob) bool { return row < upTo || b.Role == bundle.RoleManifest })
		spoilt := upTo == len(blobs)
		if spoilt {
			content, err := os.ReadFile(path + bundle.PartialSuffix)
			if err != nil {
				t.Fatal(err)
			}
			at := bytes.Index(content, []byte("layer layer"))
			content[at] ^= 1
			if err := os.WriteFile(path+bundle.PartialSuffix, content, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		partial, err := openPartial(path)
		if err != nil {
			t.Fatal(err)
		}
		if string(partial.Signatures()[0]) != "signature of "+partial.ManifestIndex().String() {
			t.Error("the signature is not there to be checked")
		}
		writer, reader, err := partial.Continue(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		wrote := 0
		for row := range blobs {
			if !writer.Has(row) {
				wrote++
				w.writeRow(t, writer, reader.Layout(), row)
			}
		}
		if spoilt && wrote != 1 {
			t.Errorf("%d rows were written again, want the one that was spoilt", wrote)
		}
		if err := writer.Commit(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, want) {
			t.Fatalf("with the first %d rows: the finished file is another one (%v)", upTo, err)
		}
	}
}

// failing is a file on a disk that fails at the end.
type failing struct {
	bundle.File

	readAgain, sync error
}

func (f *failing) Sync() error { return f.sync }

func (f *failing) Access() bundle.Access { return bundle.Access{Random: f} }

func (f *failing) ReadAt(p []byte, offset int64) (int, error) {
	if f.readAgain != nil {
		return 0, f.readAgain
	}
	return f.File.Access().Random.ReadAt(p, offset)
}

var _ io.ReaderAt = (*failing)(nil)

// What fails once all is written, or is cancelled then, loses nothing of it: the next run only completes it.
func TestContinueAfterFailedCommit(t *testing.T) {
	w := newWorld()
	want := w.stream(t)
	broken := errors.New("the disk is broken")
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	for name, test := range map[string]struct {
		failing failing
		ctx     context.Context
		problem error
	}{
		"sync":                {failing{sync: broken}, t.Context(), broken},
		"reading it again":    {failing{readAgain: broken}, t.Context(), broken},
		"cancelled meanwhile": {failing{}, cancelled, context.Canceled},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "bundle.tar")
			f := &test.failing
			var err error
			if f.File, err = bundle.CreateFile(path); err != nil {
				t.Fatal(err)
			}
			layout := w.plan(t)
			writer, err := bundle.Create(f, layout)
			if err != nil {
				t.Fatal(err)
			}
			for row := range layout.Contents().Blobs {
				if layout.HasEntry(row) {
					w.writeRow(t, writer, layout, row)
				}
			}
			if err := writer.Commit(test.ctx, nil); !errors.Is(err, test.problem) {
				t.Fatalf("%v, want %v", err, test.problem)
			}
			if err := writer.Leave(); err != nil {
				t.Fatal(err)
			}
			partial, err := openPartial(path)
			if err != nil {
				t.Fatal(err)
			}
			writer, reader, err := partial.Continue(t.Context(), nil)
			if err != nil {
				t.Fatal(err)
			}
			for row := range reader.Contents().Blobs {
				if !writer.Has(row) {
					t.Errorf("row %d is lost", row)
				}
			}
			if err := writer.Commit(t.Context(), nil); err != nil {
				t.Fatal(err)
			}
			if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, want) {
				t.Errorf("the finished file is another one (%v)", err)
			}
		})
	}
}

func TestWhatCannotBeContinued(t *testing.T) {
	w := newWorld()
	if _, err := openPartial(filepath.Join(t.TempDir(), "nothing.tar")); !errors.Is(err, bundle.ErrNoPartial) {
		t.Errorf("nothing there: %v", err)
	}
	path := w.left(t, func(int, bundle.Blob) bool { return false })
	partial, err := openPartial(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := openPartial(path); !errors.Is(err, disk.ErrBusy) {
		t.Errorf("twice at once: %v", err)
	}
	if _, _, err := partial.Continue(t.Context(), nil); !errors.Is(err, bundle.ErrNoPartial) {
		t.Errorf("without its manifests: %v", err)
	}
	if err := partial.Close(); err != nil {
		t.Error(err)
	}
	for name, damage := range map[string]func([]byte) []byte{
		"empty":           func([]byte) []byte { return nil },
		"cut in the head": func(b []byte) []byte { return b[:3000] },
		"another size":    func(b []byte) []byte { return b[:len(b)-512] },
		"a table changed": func(b []byte) []byte {
			return bytes.Replace(b, []byte(`"path":"acme/app"`), []byte(`"path":"acme/ape"`), 1)
		},
	} {
		path := w.left(t, func(_ int, b bundle.Blob) bool { return b.Role == bundle.RoleManifest })
		content, err := os.ReadFile(path + bundle.PartialSuffix)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path+bundle.PartialSuffix, damage(content), 0o600); err != nil {
			t.Fatal(err)
		}
		partial, err := openPartial(path)
		if err == nil {
			_, _, err = partial.Continue(t.Context(), nil)
			_ = partial.Close()
		}
		if !errors.Is(err, bundle.ErrNoPartial) {
			t.Errorf("%s: %v", name, err)
		}
		// What cannot be continued is in nobody's way.
		writer, err := createFile(path, w.plan(t))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if err := writer.Abort(); err != nil {
			t.Error(err)
		}
	}
}

// What is Ready is whole but for its name, or the end of a stream; a bundle that lacks a blob is not.
func TestReadyIsAllButTheName(t *testing.T) {
	w := newWorld()
	want := w.stream(t)
	path := filepath.Join(t.TempDir(), "bundle.tar")
	file, err := bundle.CreateFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var piped bytes.Buffer
	for name, target := range map[string]bundle.Target{"file": file, "stream": bundle.NewStream(&piped)} {
		layout := w.plan(t)
		writer, err := bundle.Create(target, layout)
		if err != nil {
			t.Fatal(err)
		}
		if err := writer.Ready(t.Context()); err == nil {
			t.Errorf("%s: ready without its blobs", name)
		}
		for row := range layout.Contents().Blobs {
			if layout.HasEntry(row) {
				w.writeRow(t, writer, layout, row)
			}
		}
		if err := writer.Ready(t.Context()); err != nil {
			t.Fatal(err)
		}
		if name == "file" {
			if got, err := os.ReadFile(path + bundle.PartialSuffix); err != nil || !bytes.Equal(got, want) {
				t.Errorf("what is ready is not what it will be (%v)", err)
			}
			if _, err := os.Stat(path); err == nil {
				t.Error("it has its name already")
			}
		} else if piped.Len() >= len(want) {
			t.Error("the stream has ended already")
		}
		if err := writer.Commit(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, want) || !bytes.Equal(piped.Bytes(), want) {
		t.Errorf("file or stream are not what they should be (%v)", err)
	}
}
