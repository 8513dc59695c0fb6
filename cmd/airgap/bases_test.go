package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"airgap/bundle"
	"airgap/bundle/bundletest"
	"airgap/cmd/airgap/option"
	"airgap/verify/signature"
)

// chained is a bundle of everything, of half of it as m@1, and of everything as m@2 and m@3, each without what those before it store.
type chained struct {
	*carried
	full          []byte
	remade        []*bundletest.Remade // by sequence, from 1
	first, second string
	third         string
}

func newChained(t *testing.T) *chained {
	t.Helper()
	c := &chained{carried: exportFixture(t)}
	full := read(t, c.file)
	var half []string
	for _, root := range c.fixture.Roots()[:3] {
		half = append(half, c.images+"/"+root.Reference())
	}
	c.export(t, exitOK, "3 images", half...)
	key, err := option.LoadPrivateKey(t.Context(), c.App, "--key", filepath.Join(c.home, "airgap.key"))
	if err != nil {
		t.Fatal(err)
	}
	sign := func(d bundle.Digest) ([]byte, error) { return signature.Sign(key, d) }
	c.full = full
	options := bundle.PlanOptions{Mirror: "m"}
	for i, original := range [][]byte{read(t, c.file), full, full} {
		options.Sequence = uint64(i + 1)
		remade := bundletest.Remake(t, original, sign, options)
		c.remade = append(c.remade, remade)
		options.StoredBy = remade.Stores
	}
	c.first, c.second, c.third = c.write(t, "m-1.tar", string(c.remade[0].Bytes)), c.write(t, "m-2.tar", string(c.remade[1].Bytes)), c.write(t, "m-3.tar", string(c.remade[2].Bytes))
	return c
}

func read(t *testing.T, file string) []byte {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

func TestVerifyWithBases(t *testing.T) {
	c := newChained(t)
	standsOn := "stands on m@1 of 2023-11-14, " + c.remade[0].ManifestIndex.String()
	c.expect(t, exitOK, standsOn+"; m@2 of 2023-11-14, ", "verify", c.third, "--key", c.public)
	if !strings.Contains(c.err.String(), "left out on purpose and not checked here (--base FILE checks them)") || strings.Contains(c.err.String(), "whole") {
		t.Errorf("without the bases:\n%s", c.err.String())
	}
	c.expect(t, exitOK, standsOn+": ", "verify", c.third, "--key", c.public, "--base", c.first)
	if !strings.Contains(c.err.String(), "stands on m@2 of 2023-11-14, ") || strings.Count(c.err.String(), "not checked here") != 1 || strings.Contains(c.err.String(), "whole") {
		t.Errorf("with one of two:\n%s", c.err.String())
	}

	// The second in volumes, and the delta through a pipe; what is printed for machines is the same.
	media := filepath.Join(c.home, "media")
	if err := os.Mkdir(media, 0o700); err != nil {
		t.Fatal(err)
	}
	c.expect(t, exitOK, "", "split", c.second, "--volume-size", "128KiB", "-o", filepath.Join(media, "second.tar"))
	c.pipe(t, c.third)
	c.expect(t, exitOK, "checked as well: with them the bundle is whole", "verify", "-", "--key", c.public, "--base", media, "--base", c.first, "--deep")
	drive := filepath.Join(c.home, "drive")
	if err := os.Mkdir(drive, 0o700); err != nil {
		t.Fatal(err)
	}
	c.expect(t, exitOK, "", "split", c.third, "--volume-size", "128KiB", "-o", filepath.Join(drive, "third.tar"))
	c.Stdin = strings.NewReader(strings.Repeat("\n", 100))
	c.expect(t, exitOK, "with them the bundle is whole", "verify", drive, "--one-at-a-time", "--key", c.public, "--base", media, "--base", c.first, "--deep")
	c.expect(t, exitOK, "", "verify", c.third, "--key", c.public, "--base", media, "--json")
	var result verifyResult
	if err := json.Unmarshal(c.out.Bytes(), &result); err != nil {
		t.Fatal(err)
	}
	based := 0
	for i, base := range result.StandsOn {
		if base.Base != c.remade[i].Base() || base.Checked != (i == 1) || base.Blobs == 0 || base.Bytes == 0 {
			t.Errorf("stands on %+v", base)
		}
		based += base.Blobs
	}
	if result.Mirror != "m" || result.Sequence != 3 || len(result.StandsOn) != 2 || based != result.Counts.Based {
		t.Errorf("%s", c.out.String())
	}

	// What is given must be what the header names, and signed.
	c.expect(t, exitUsage, "it stands on m@1 of 2023-11-14", "verify", c.third, "--key", c.public, "--base", c.file)
	c.expect(t, exitUsage, "leaves nothing out", "verify", c.first, "--key", c.public, "--base", c.second)
	c.expect(t, exitUsage, "pipe", "verify", c.third, "--key", c.public, "--base", "-")
	c.expect(t, exitUsage, "no such file", "verify", c.third, "--key", c.public, "--base", filepath.Join(c.home, "none.tar"))
	other, err := signature.Generate(signature.ECDSAP256)
	if err != nil {
		t.Fatal(err)
	}
	forged := bundletest.Remake(t, c.full, func(d bundle.Digest) ([]byte, error) { return signature.Sign(other, d) }, bundle.PlanOptions{Mirror: "m", Sequence: 2})
	c.expect(t, exitUntrusted, "not signed by a trusted key", "verify", c.third, "--key", c.public, "--base", c.write(t, "forged.tar", string(forged.Bytes)))

	// Damage where only the base is wrong.
	spoiled := read(t, c.first)
	spoiled[len(spoiled)-2000] ^= 1
	c.expect(t, exitDamaged, "in m@1 of ", "verify", c.third, "--key", c.public, "--base", c.write(t, "spoiled.tar", string(spoiled)))
}

// Inspect says what a bundle stands on, and of each image how much is left out.
func TestInspectOfADelta(t *testing.T) {
	c := newChained(t)
	c.expect(t, exitOK, "", "inspect", c.second)
	for _, want := range []string{"number 2 of the mirror m\n", "stands on m@1 of 2023-11-14, " + c.remade[0].ManifestIndex.String() + ": ", " left out\n"} {
		if !strings.Contains(c.out.String(), want) {
			t.Errorf("%q is not in\n%s", want, c.out.String())
		}
	}
	c.expect(t, exitOK, "", "inspect", c.second, "--json")
	var found inspection
	if err := json.Unmarshal(c.out.Bytes(), &found); err != nil {
		t.Fatal(err)
	}
	contents := c.remade[1].Contents
	if b := found.Bundle; b.Mirror != "m" || b.Sequence != 2 || len(b.StandsOn) != 1 || b.StandsOn[0].Bytes != contents.Header.Counts.BasedBytes || b.StandsOn[0].Base != c.remade[0].Base() {
		t.Errorf("%+v", b)
	}
	var most, sum int64
	inFirst := map[string]bool{}
	for _, root := range c.remade[0].Contents.Roots() {
		inFirst[root.Source] = true
	}
	for _, image := range found.Images {
		most = max(most, image.LeftOutBytes)
		sum += image.LeftOutBytes
		if inFirst[image.Source] && image.LeftOutBytes == 0 {
			t.Errorf("nothing of %s is left out", image.Source)
		}
	}
	if total := contents.Header.Counts.BasedBytes; most > total || sum < total {
		t.Errorf("the images leave out %d bytes, one of them %d, the bundle %d", sum, most, total)
	}
	c.expect(t, exitOK, "", "inspect", c.first)
	if strings.Contains(c.out.String(), "left out") || !strings.Contains(c.out.String(), "number 1 of the mirror m\n") {
		t.Errorf("the first:\n%s", c.out.String())
	}
	c.expect(t, exitOK, "", "inspect", c.file)
	if strings.Contains(c.out.String(), "left out") || strings.Contains(c.out.String(), "mirror") {
		t.Errorf("a bundle of no mirror:\n%s", c.out.String())
	}
}

func TestJoinWithBases(t *testing.T) {
	c := newChained(t)
	whole, key := filepath.Join(c.home, "whole.tar"), filepath.Join(c.home, "airgap.key")
	c.expect(t, exitUsage, "--key is missing", "join", c.third, "--base", c.first, "-o", whole)
	c.expect(t, exitUsage, "for a bundle that is joined with others", "join", c.third, "--key", key, "-o", whole)
	c.expect(t, exitUsage, "stands on others as well: m@2 of", "join", c.third, "--base", c.first, "--key", key, "-o", whole)
	c.expect(t, exitUsage, "leaves nothing out", "join", c.first, "--base", c.second, "--key", key, "-o", whole)
	c.expect(t, exitOK, "whole.tar: ", "join", c.third, "--base", c.first, "--base", c.second, "--key", key, "-o", whole)
	index := strings.TrimSpace(c.out.String())
	c.expect(t, exitOK, "the whole of "+c.remade[2].ManifestIndex.String(), "verify", whole, "--key", c.public, "--deep")
	if got := strings.TrimSpace(c.out.String()); got != index || strings.Contains(c.err.String(), "left out") {
		t.Errorf("join prints %s, verify %s and\n%s", index, got, c.err.String())
	}
	target := bundletest.StartRegistry(t, true)
	c.expect(t, exitOK, "imported", "import", whole, target, "--key", c.public, "--no-record")
	for _, root := range c.fixture.Roots() {
		c.expect(t, exitOK, "", "inspect", target+"/"+root.Reference(), "--digest")
		if got := strings.TrimSpace(c.out.String()); got != c.fixture.Digest(t, root.Repository, root.Tag) {
			t.Errorf("%s is %s at the target", root.Reference(), got)
		}
	}

	// From volumes, by somebody else, who trusts the first key: another signature over the same.
	media := filepath.Join(c.home, "media")
	if err := os.Mkdir(media, 0o700); err != nil {
		t.Fatal(err)
	}
	c.expect(t, exitOK, "", "split", c.third, "--volume-size", "128KiB", "-o", filepath.Join(media, "third.tar"))
	other := filepath.Join(c.home, "other")
	c.expect(t, exitOK, "", "keygen", "--output-key-prefix", other)
	args := []string{"join", media, "--base", c.first, "--base", c.second, "--key", other + ".key", "-o", filepath.Join(c.home, "other.tar")}
	c.expect(t, exitUntrusted, "not signed by a trusted key", args...)
	c.expect(t, exitOK, "other.tar: ", append(args, "--trust", c.public)...)
	if got := strings.TrimSpace(c.out.String()); got != index {
		t.Errorf("with another key it is %s", got)
	}
	c.expect(t, exitOK, "all digests are right", "verify", filepath.Join(c.home, "other.tar"), "--key", other+".pub")
	c.expect(t, exitFailure, "file already exists", append(args, "--trust", c.public)...)
}
