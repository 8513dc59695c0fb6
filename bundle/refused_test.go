package bundle_test

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"airgap/bundle"
	"airgap/bundle/bundletest"
)

// Places of the tables in a bundle, for resigned.
const (
	headerAt    = 2
	rootsAt     = 3
	manifestsAt = 4
	blobsAt     = 5
	missingAt   = 6
)

// What is wrong in a table is refused, though whoever made it had the key: FORMAT.md, "Tables". Each change leaves the table
// as it was but for one thing.
func TestRefusedTables(t *testing.T) {
	replace := func(old, replacement string) func([]byte) []byte {
		return func(table []byte) []byte { return bytes.Replace(table, []byte(old), []byte(replacement), 1) }
	}
	plain, features, delta := newWorld(), newFeatureWorld(), newDeltaWorld()
	root := newWorld().images[0].Root
	other := bundle.DigestOf([]byte("other"))
	for name, test := range map[string]struct {
		good   *world
		place  int
		change func([]byte) []byte
		want   string
	}{
		"no source":                      {plain, rootsAt, replace(`"docker.io/acme/app:1"`, `""`), "source"},
		"a source without a registry":    {plain, rootsAt, replace(`"docker.io/acme/app:1"`, `"app:1"`), "source"},
		"a source without tag or digest": {plain, rootsAt, replace(`"docker.io/acme/app:1"`, `"docker.io/acme/app"`), "source"},
		"a source with spaces":           {plain, rootsAt, replace(`"docker.io/acme/app:1"`, `"docker.io/acme/app:1 signed by me"`), "source"},
		"a source with another digest":   {plain, rootsAt, replace(`"docker.io/acme/app:1"`, `"docker.io/acme/app:1@`+other.String()+`"`), "source"},
		"a fallback tag":                 {plain, rootsAt, last(`"tag":"latest"`, `"tag":"`+root.Digest.FallbackTag()+`"`), "list of referrers"},
		"a platform of nothing":          {features, rootsAt, replace(`"platforms":["linux/amd64"]`, `"platforms":[""]`), "platform"},
		"half a platform":                {features, rootsAt, replace(`"platforms":["linux/amd64"]`, `"platforms":["linux"]`), "platform"},
		"a platform of four parts":       {features, rootsAt, replace(`"platforms":["linux/amd64"]`, `"platforms":["linux/arm/v7/x"]`), "platform"},
		"a chart without a name":         {features, rootsAt, replace(`"usedBy":["docker.io/acme/chart:1"]`, `"usedBy":[""]`), "chart"},
		"found nowhere":                  {plain, manifestsAt, replace(`"from":"docker.io/acme/app"`, `"from":""`), "repository"},
		"found in no repository":         {plain, manifestsAt, replace(`"from":"docker.io/acme/app"`, `"from":"docker.io/acme/app:1"`), "repository"},
		"one cosign tag, two manifests":  {plain, manifestsAt, secondCosignTag, "same destination"},
		"a layer that is an attestation": {plain, blobsAt, last(`"role":"attestation"`, `"role":"layer"`), "role"},
		"an attestation that is a layer": {plain, blobsAt, replace(`"role":"layer"`, `"role":"attestation"`), "role"},
		"an attestation as config":       {plain, blobsAt, replace(`"role":"attestation"`, `"role":"config"`), "role"},
		"an unknown role":                {plain, blobsAt, replace(`"role":"layer"`, `"role":"ballast"`), "ballast"},
		"missing from nowhere":           {features, missingAt, replace(`"source":"docker.io/acme/gone:1"`, `"source":""`), "no source"},
		"missing for no reason":          {features, missingAt, replace(`"reason":"denied"`, `"reason":""`), "no reason"},
		"a sequence without a mirror":    {plain, headerAt, replace(`"sequence":0`, `"sequence":1`), "one without the other"},
		"a mirror without a sequence":    {plain, headerAt, replace(`"mirror":""`, `"mirror":"dhi"`), "one without the other"},
		"a mirror that is no name":       {plain, headerAt, replace(`"mirror":"","sequence":0`, `"mirror":"-x","sequence":1`), "name of a mirror"},
		"4097 bases":                     {plain, headerAt, replace(`"bases":[]`, `"bases":[`+manyBases(bundle.MaxBases+1)+`]`), "4097 bases"},
		"a base of nothing":              {plain, headerAt, replace(`"bases":[]`, `"bases":[`+baseText("dhi", 1, "a")+`]`), "stores nothing"},
		"a base stores a layer here":     {plain, blobsAt, last(`"stored":"full"`, `"stored":"base","base":0`), "base 0 of 0"},
		"full, and of a base":            {plain, blobsAt, last(`"stored":"full"`, `"stored":"full","base":0`), "belongs to"},
		"of no base":                     {delta, blobsAt, last(`"stored":"base","base":1`, `"stored":"base"`), "belongs to"},
		"of a base below zero":           {delta, blobsAt, last(`"base":1`, `"base":-1`), "base -1"},
		"of a base that is not there":    {delta, blobsAt, last(`"base":1`, `"base":2`), "base 2 of 2"},
		"a manifest of a base":           {delta, blobsAt, replace(`"role":"manifest","stored":"full"`, `"role":"manifest","stored":"base","base":0`), "manifest left out"},
		"an attestation of a base":       {delta, blobsAt, replace(`"role":"attestation","stored":"full"`, `"role":"attestation","stored":"base","base":0`), "attestation left out"},
		"bases out of order":             {delta, headerAt, replace(baseText("dhi", 9, "a")+","+baseText("dhi", 11, "b"), baseText("dhi", 11, "b")+","+baseText("dhi", 9, "a")), "out of order"},
		"one base twice":                 {delta, headerAt, replace(baseText("dhi", 11, "b"), baseText("dhi", 11, "a")), "twice"},
		"a base that is newer":           {delta, headerAt, replace(`"sequence":11`, `"sequence":13`), "cannot build on"},
		"a base that is as old":          {delta, headerAt, replace(`"sequence":11`, `"sequence":12`), "cannot build on"},
		"a base made at no time":         {delta, headerAt, replace(`"created":"2023-11-07T00:00:00Z"}]`, `"created":"last week"}]`), "creation time"},
		"a base without a digest":        {delta, headerAt, replace(bundle.DigestOf([]byte("a")).String(), bundle.Digest{}.String()), "digest"},
		"a joined delta that builds on":  {delta, headerAt, replace(`,"counts"`, `,"joined":"`+other.String()+`","counts"`), "joined"},
		"a delta that joined nothing":    {plain, headerAt, replace(`,"counts"`, `,"joined":"`+other.String()+`","counts"`), "joined"},
		"a supplement of another mirror": {delta, headerAt, replace(`"sequence":12`, `"sequence":0`), "one without the other"},
		"a supplement with a number":     {delta, headerAt, replace(`,"counts"`, `,"completes":`+baseText("dhi", 11, "c")+`,"counts"`), "no sequence"},
		"a supplement that moves tags":   {delta, headerAt, supplementOf(baseText("dhi", 12, "c")), "moves no tags"},
		"a supplement on its own bundle": {delta, headerAt, supplementOf(baseText("dhi", 11, "b")), "cannot build on dhi@11, which it completes"},
		"a supplement of what it is not": {delta, headerAt, supplementOf(baseText("other", 12, "c")), "of that mirror"},
		"a sequence below zero":          {plain, headerAt, replace(`"sequence":0`, `"sequence":-1`), "header"},
		"made too late":                  {plain, headerAt, replace(`"2023-11-14T22:13:20Z"`, `"2242-03-16T12:56:32Z"`), "2242"},
	} {
		t.Run(name, func(t *testing.T) {
			err := test.good.withTable(t, test.place, test.change)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v, want something with %q", err, test.want)
			}
			if !errors.Is(err, bundle.ErrFormat) {
				t.Errorf("%v is not ErrFormat", err)
			}
		})
	}
	// The last second there is, and the largest number.
	for _, change := range []func([]byte) []byte{
		replace(`"2023-11-14T22:13:20Z"`, `"2242-03-16T12:56:31Z"`),
		replace(`"mirror":"","sequence":0`, `"mirror":"m","sequence":18446744073709551615`),
	} {
		if err := plain.withTable(t, headerAt, change); err != nil {
			t.Error(err)
		}
	}
}

// manyBases returns n bases, in order.
func manyBases(n int) string {
	var bases []string
	for i := range n {
		bases = append(bases, baseText("dhi", uint64(i+1), strconv.Itoa(i)))
	}
	return strings.Join(bases, ",")
}

// withTable reads the tables of the world, one of them changed, and the manifests, and returns what is wrong with them.
func (w *world) withTable(t *testing.T, place int, change func([]byte) []byte) error {
	t.Helper()
	entries, _ := bundletest.Entries(w.stream(t))
	content := func(at int) []byte {
		if at == missingAt && len(w.missing) == 0 {
			return nil
		}
		b := entries[at].Raw[512 : 512+entries[at].Size]
		if at != place {
			return b
		}
		changed := change(bytes.Clone(b))
		if bytes.Equal(b, changed) {
			t.Fatal("nothing was changed")
		}
		return changed
	}
	c, err := bundle.ReadTables(content(headerAt), content(rootsAt), content(manifestsAt), content(blobsAt), content(missingAt))
	if err != nil {
		return err
	}
	_, err = bundle.NewGraph(t.Context(), c, w.parse)
	return err
}

// last is like replace, of the last place.
func last(old, replacement string) func([]byte) []byte {
	return func(table []byte) []byte {
		at := bytes.LastIndex(table, []byte(old))
		return append(append(bytes.Clone(table[:at]), replacement...), table[at+len(old):]...)
	}
}

// secondCosignTag gives the second root another manifest under a cosign tag that the first has as well.
func secondCosignTag(table []byte) []byte {
	lines := bytes.SplitAfter(table, []byte("\n"))
	digest := regexp.MustCompile(`"digest":"(sha256:[0-9a-f]{64})"`)
	size := regexp.MustCompile(`"size":[0-9]+`)
	var sbom []byte
	for _, line := range lines {
		if bytes.Contains(line, []byte(`"application/spdx+json"`)) {
			sbom = line
		}
	}
	for i, line := range lines {
		if !bytes.Contains(line, []byte(`"root":1`)) || !bytes.Contains(line, []byte(`"cosign-tag"`)) {
			continue
		}
		line = bytes.Replace(line, digest.FindSubmatch(line)[1], digest.FindSubmatch(sbom)[1], 1)
		line = bytes.Replace(line, size.Find(line), size.Find(sbom), 1)
		lines[i] = bytes.Replace(line, []byte(`,"via"`), []byte(`,"artifactType":"application/spdx+json","via"`), 1)
	}
	inOrder := lines[:len(lines)-1]
	key := func(line []byte) string {
		return fmt.Sprintf("%.9s %s %s", line, digest.Find(line), regexp.MustCompile(`"via":"[a-z-]+"`).Find(line))
	}
	for i := range inOrder {
		for j := i; j > 0 && key(inOrder[j]) < key(inOrder[j-1]); j-- {
			inOrder[j], inOrder[j-1] = inOrder[j-1], inOrder[j]
		}
	}
	return bytes.Join(inOrder, nil)
}

// A list that says of a manifest what that is not leads whoever believes it to another parser.
func TestRefusedManifests(t *testing.T) {
	for name, test := range map[string]struct {
		build func(w *world, child bundle.Descriptor) object
		want  string
	}{
		"a child of another media type": {func(w *world, child bundle.Descriptor) object {
			child.MediaType = bundle.MediaTypeDockerManifest
			return object{"schemaVersion": 2, "mediaType": bundle.MediaTypeOCIIndex, "manifests": []bundle.Descriptor{child}}
		}, "media type"},
		"a child of another size": {func(w *world, child bundle.Descriptor) object {
			child.Size++
			return object{"schemaVersion": 2, "mediaType": bundle.MediaTypeOCIIndex, "manifests": []bundle.Descriptor{child}}
		}, "bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			w := &world{blobs: map[bundle.Digest][]byte{}}
			m := image(w.add([]byte("{}")), w.add([]byte("layer")))
			delete(m, "mediaType") // so that it could be read as either
			child := w.manifest(m, bundle.MediaTypeOCIManifest)
			index := w.manifest(test.build(w, child), bundle.MediaTypeOCIIndex)
			row := func(d bundle.Descriptor, via bundle.Via) bundle.ManifestRow {
				return bundle.ManifestRow{Digest: d.Digest, MediaType: d.MediaType, Size: d.Size, Via: via, From: "docker.io/acme/app"}
			}
			w.images = []bundle.Image{{
				Root:      bundle.Root{Source: "docker.io/acme/app:1", Path: "acme/app", Tag: "1", MediaType: index.MediaType, Digest: index.Digest, Size: index.Size},
				Manifests: []bundle.ManifestRow{row(index, bundle.ViaRoot), row(child, bundle.ViaChild)},
			}}
			if err := w.tryFile(t); !errors.Is(err, bundle.ErrFormat) || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v, want something with %q", err, test.want)
			}
		})
	}
}

// The rules for a carried manifest: FORMAT.md, "Carried manifests".
func TestParseManifestKeepsToTheRules(t *testing.T) {
	digest := bundle.EmptyJSON.String()
	config := `"config":{"mediaType":"application/vnd.oci.empty.v1+json","digest":"` + digest + `","size":2}`
	for text, want := range map[string]error{
		`{"schemaVersion":2,` + config + `}`:                                                                nil,
		`{"schemaVersion":2,"mediaType":null,` + config + `}`:                                               nil,
		`{"schemaVersion":2,"mediaType":"",` + config + `}`:                                                 nil,
		`{"schemaVersion":2,"config":{"digest":"` + digest + `"}}`:                                          nil, // a size of 0
		`{"schemaVersion":2,` + config + `,"x":{"A":1,"b":[{"B":null}]}}`:                                   nil,
		`{"schemaVersion":2,` + config + `,"annotations":{"a":"1","A":"2"}}`:                                nil,
		`{"schemaVersion":2,` + config + `,"annotations":{"a":1}}`:                                          bundle.ErrFormat,
		`{"schemaVersion":3,` + config + `}`:                                                                bundle.ErrFormat,
		`{"schemaVersion":1,` + config + `}`:                                                                bundle.ErrUnsupported,
		`{` + config + `}`:                                                                                  bundle.ErrFormat,
		`{"schemaVersion":2}`:                                                                               bundle.ErrFormat,
		`{"schemaVersion":2,` + config + `,"manifests":[{"digest":"` + digest + `"}]}`:                      bundle.ErrFormat,
		`{"schemaVersion":2,"config":{"size":2}}`:                                                           bundle.ErrFormat,
		`{"schemaVersion":2,"config":{"digest":"` + digest + `","size":-1}}`:                                bundle.ErrFormat,
		`{"schemaVersion":2,` + config + `,"subject":{"size":2}}`:                                           bundle.ErrFormat,
		`{"schemaVersion":2,` + config + `,"subject":{"digest":"sha512:` + strings.Repeat("0", 128) + `"}}`: bundle.ErrUnsupported,
		`{"schemaVersion":2,` + config + `,"Subject":{}}`:                                                   bundle.ErrFormat,
		`{"schemaVersion":2,` + config + `,"x":{"a":1,"A":2}}`:                                              bundle.ErrFormat,
		`{"schemaVersion":2,` + config + `,"mediaType":"` + bundle.MediaTypeDockerManifest + `"}`:           bundle.ErrFormat,
	} {
		if _, err := bundle.ParseManifest(bundle.MediaTypeOCIManifest, []byte(text)); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", text, err, want)
		}
	}
	for text, want := range map[string]error{
		`{"schemaVersion":2}`:                                        nil,
		`{"schemaVersion":2,"manifests":[]}`:                         nil,
		`{"schemaVersion":2,` + config + `}`:                         bundle.ErrFormat,
		`{"schemaVersion":2,"layers":[{"digest":"` + digest + `"}]}`: bundle.ErrFormat,
	} {
		if _, err := bundle.ParseManifest(bundle.MediaTypeOCIIndex, []byte(text)); !errors.Is(err, want) {
			t.Errorf("index %s: %v, want %v", text, err, want)
		}
	}
}

func TestNondistributableTypes(t *testing.T) {
	for mediaType, want := range map[string]bool{
		"application/vnd.oci.image.layer.nondistributable.v1.tar":          true,
		"application/vnd.oci.image.layer.nondistributable.v1.tar+gzip":     true,
		"application/vnd.oci.image.layer.nondistributable.v1.tar+zstd":     true,
		"application/vnd.docker.image.rootfs.foreign.diff.tar":             true,
		"application/vnd.docker.image.rootfs.foreign.diff.tar.gzip":        true,
		"application/vnd.docker.image.rootfs.foreign.diff.tar.zstd":        false,
		"application/vnd.oci.image.layer.nondistributable.v1.tar+gzip; x=": false,
		"application/vnd.oci.image.layer.v1.tar+gzip":                      false,
	} {
		if got := bundle.IsNondistributable(mediaType); got != want {
			t.Errorf("%s: %t", mediaType, got)
		}
	}
}
