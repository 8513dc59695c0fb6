package archive

import (
	"archive/tar"
	"bytes"
	"io"
	"testing"
)

// Sizes around the border of the octal field are read by archive/tar as what they are.
func TestTarHeaderSizes(t *testing.T) {
	const border = 1<<33 - 1
	for _, size := range []int64{0, 1, 511, 512, border - 1, border, border + 1, 1 << 44} {
		header := Header("blobs/sha256/x", size, 1_700_000_000)
		if want := 512; (len(header) == want) != (size <= border) || len(header)%512 != 0 {
			t.Errorf("%d bytes: a header of %d bytes", size, len(header))
		}
		got, err := tar.NewReader(io.MultiReader(bytes.NewReader(header), bytes.NewReader(make([]byte, 1024)))).Next()
		if err != nil {
			t.Errorf("%d bytes: %v", size, err)
			continue
		}
		if got.Size != size || got.Name != "blobs/sha256/x" || got.ModTime.Unix() != 1_700_000_000 || got.Mode != 0o644 || got.Typeflag != tar.TypeReg {
			t.Errorf("%d bytes: read as %+v", size, got)
		}
	}
}
