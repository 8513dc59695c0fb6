package difference_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	"airgap/bundle"
	"airgap/bundle/difference"
)

// image is one to be put into a bundle, with what refers to it.
type image struct {
	tag, text string
	proofs    []string
}

// contents plans a bundle of images.
func contents(t *testing.T, images ...image) *bundle.Contents {
	t.Helper()
	manifests := map[bundle.Digest]*bundle.Manifest{}
	add := func(m bundle.Manifest, text string) bundle.Descriptor {
		m.SchemaVersion, m.MediaType = 2, bundle.MediaTypeOCIManifest
		m.Config = &bundle.Descriptor{MediaType: "application/vnd.example", Digest: bundle.DigestOf([]byte(text)), Size: 1000}
		content, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		d := bundle.Descriptor{MediaType: m.MediaType, Digest: bundle.DigestOf(content), Size: int64(len(content))}
		manifests[d.Digest] = &m
		return d
	}
	var planned []bundle.Image
	for _, i := range images {
		d := add(bundle.Manifest{}, i.text)
		root := bundle.Root{Source: "docker.io/acme/app:" + i.tag, Path: "acme/app", Tag: i.tag, MediaType: d.MediaType, Digest: d.Digest, Size: d.Size}
		if i.tag == "" {
			root.Source = "docker.io/acme/app@" + d.Digest.String()
		}
		p := bundle.Image{Root: root, Manifests: []bundle.ManifestRow{{Digest: d.Digest, MediaType: d.MediaType, Size: d.Size, Via: bundle.ViaRoot, From: "docker.io/acme/app"}}}
		for _, proof := range i.proofs {
			subject := d
			r := add(bundle.Manifest{Subject: &subject}, proof)
			p.Manifests = append(p.Manifests, bundle.ManifestRow{
				Digest: r.Digest, MediaType: r.MediaType, Size: r.Size, ArtifactType: "application/vnd.example", Via: bundle.ViaReferrersAPI, Subject: d.Digest, From: "docker.io/acme/app",
			})
		}
		planned = append(planned, p)
	}
	c, err := bundle.Plan(planned, func(d bundle.Digest) (*bundle.Manifest, error) { return manifests[d], nil }, bundle.PlanOptions{Created: time.Unix(0, 0)})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestBetween(t *testing.T) {
	a := contents(t, image{"gone", "gone", nil}, image{"latest", "old", nil}, image{"proved", "same", []string{"signature", "old scan"}}, image{"same", "as ever", []string{"sbom"}}, image{"", "by digest", nil})
	b := contents(t, image{"latest", "new", []string{"signature"}}, image{"new", "new", []string{"signature"}}, image{"proved", "same", []string{"signature", "new scan"}}, image{"same", "as ever", []string{"sbom"}}, image{"", "by another digest", nil})
	d := difference.Between(a, b)
	destinations := func(images []difference.Image) (all []string) {
		for _, i := range images {
			all = append(all, i.Destination)
		}
		return all
	}
	digest := func(text string) string { return destinationByDigest(t, text) }
	if got, want := destinations(d.Added), []string{digest("by another digest"), "acme/app:new"}; !slices.Equal(got, want) {
		t.Errorf("added %q, want %q", got, want)
	}
	if got, want := destinations(d.Gone), []string{digest("by digest"), "acme/app:gone"}; !slices.Equal(got, want) {
		t.Errorf("gone %q, want %q", got, want)
	}
	if len(d.Moved) != 1 || d.Moved[0].Destination != "acme/app:latest" || d.Moved[0].Old == d.Moved[0].New || d.Moved[0].New != d.Added[1].Digest {
		t.Errorf("moved %+v", d.Moved)
	}
	if len(d.Referrers) != 1 || d.Referrers[0].Destination != "acme/app:proved" || len(d.Referrers[0].Came) != 1 || len(d.Referrers[0].Went) != 1 ||
		d.Referrers[0].Came[0].Digest == d.Referrers[0].Went[0].Digest || d.Referrers[0].Came[0].Subject != d.Referrers[0].Image.Digest {
		t.Errorf("referrers %+v", d.Referrers)
	}
	// new: configs of "new", "new scan" and "by another digest", each with its manifest, and a signature of "new" whose config was there
	if d.Unchanged != 1 || d.New.Count != 7 || d.New.Bytes < 3000 || d.New.Bytes > 6000 {
		t.Errorf("%d unchanged, %+v new", d.Unchanged, d.New)
	}
	back := difference.Between(b, a)
	if back.New != d.Old || back.Old != d.New || fmt.Sprint(back.Added) != fmt.Sprint(d.Gone) || fmt.Sprint(back.Referrers[0].Came) != fmt.Sprint(d.Referrers[0].Went) {
		t.Errorf("%+v is not the reverse of %+v", back, d)
	}
	if same := difference.Between(a, a); same.Unchanged != 5 || len(same.Added)+len(same.Moved)+len(same.Gone)+len(same.Referrers)+same.New.Count > 0 {
		t.Errorf("%+v", same)
	}
}

// destinationByDigest is where an image without a tag goes.
func destinationByDigest(t *testing.T, text string) string {
	t.Helper()
	root := contents(t, image{"", text, nil}).Root(0)
	return root.Destination()
}
