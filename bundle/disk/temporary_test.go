package disk_test

import (
	"os"
	"runtime"
	"testing"

	"airgap/bundle/disk"
)

func TestNothingIsLeftOfATemporaryFile(t *testing.T) {
	dir := t.TempDir()
	f, err := disk.NewTemporary(dir)
	if err != nil {
		t.Fatal(err)
	}
	left := func() int {
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		return len(entries)
	}
	if left() > 0 && runtime.GOOS != "windows" {
		t.Error("a process that is killed now leaves it")
	}
	if _, err := f.WriteString("content"); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if left() > 0 {
		t.Error("it is there after Close")
	}
}
