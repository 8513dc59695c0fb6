package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"testing"

	"airgap/bundle"
	"airgap/bundle/bundletest"
	"airgap/bundle/volume"
	"airgap/cmd/airgap/option"
	"airgap/cmd/airgap/terminal"
	"airgap/verify"
	"airgap/verify/policy"
	"airgap/verify/signature"
)

// Volumes end before, in and after tar headers, contents and paddings: all digests are right whether the volumes are there
// together or one after the other, and each is needed once.
func TestVolumeBorders(t *testing.T) {
	c := exportFixture(t)
	content, err := os.ReadFile(c.file)
	if err != nil {
		t.Fatal(err)
	}
	public, err := os.ReadFile(c.public)
	if err != nil {
		t.Fatal(err)
	}
	keys, err := signature.ParsePublicKeys(public)
	if err != nil {
		t.Fatal(err)
	}
	trust := verify.Trust{Policy: policy.OfKeys(keys)}
	for _, size := range borders(content) {
		dir := t.TempDir()
		sealed, err := bundle.Open(bundle.FromReaderAt(bytes.NewReader(content), int64(len(content))))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := volume.Split(t.Context(), bytes.NewReader(content), int64(len(content)), sealed.ManifestIndex(), dir+"/a.tar", size, 0, nil); err != nil {
			t.Fatal(err)
		}
		if err := checkVolumes(t.Context(), dir, trust); err != nil {
			t.Errorf("volumes of %d bytes: %v", size, err)
		}
		if err := checkOneByOne(t, dir, trust); err != nil {
			t.Errorf("volumes of %d bytes, one by one: %v", size, err)
		}
	}
}

// borders returns sizes of volumes at which the first one ends where it may matter.
func borders(content []byte) (sizes []int64) {
	entries, _ := bundletest.Entries(content)
	at, seen := int64(0), 0
	for _, e := range entries {
		start := at
		at += int64(len(e.Raw))
		if start < volume.MinSize || seen == 8 {
			continue
		}
		seen++
		sizes = append(sizes, start-1, start, start+1, start+511, start+512, start+513, start+512+e.Size/2, start+512+e.Size)
	}
	return append(sizes, int64(len(content))-1025, int64(len(content))-1024, int64(len(content))-1)
}

func checkVolumes(ctx context.Context, dir string, trust verify.Trust) error {
	set, err := volume.Open(dir)
	if err != nil {
		return err
	}
	sealed, err := bundle.Open(set)
	if err != nil {
		return err
	}
	return errors.Join(checkAll(ctx, sealed, trust), sealed.Close())
}

func checkOneByOne(t *testing.T, dir string, trust verify.Trust) error {
	t.Helper()
	screen := &bytes.Buffer{}
	d := &drive{shelf: dir, dir: t.TempDir(), screen: screen, patience: -1}
	a := newWorld(t).App
	a.Stdin, a.Screen = d, terminal.NewScreen(screen, nil)
	flags := option.Source{OneAtATime: true}
	sealed, _, err := flags.OpenSealed(t.Context(), a, []string{d.dir})
	if err != nil {
		return err
	}
	err = checkAll(t.Context(), sealed, trust)
	if want := len(glob(dir + "/a.tar.*")); len(d.asked) != want {
		t.Errorf("asked for %q, want each of %d", d.asked, want)
	}
	return errors.Join(err, sealed.Close())
}

func checkAll(ctx context.Context, sealed *bundle.Sealed, trust verify.Trust) error {
	checked, err := verify.Open(ctx, sealed, trust)
	if err != nil {
		return err
	}
	return checked.CheckBlobsDeep(ctx, nil)
}
