package interop

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"airgap/bundle"
	"airgap/bundle/platform"
)

// The corpus of the comparison with other tools: some 3 GB in layers of 1 KB to 600 MB, the large ones shared between
// repositories; each platform of each image has two attestations, and each of these a signature; each image has a Sigstore
// bundle and a signature under a cosign tag. The content cannot be compressed, and is the same in every run.
const (
	corpusRepositories = 8
	corpusTags         = 5
)

var (
	corpusPlatforms = []string{"amd64", "arm64"}
	// Layers at the bottom, by platform and, in turn, repository.
	corpusBases = [][]int64{{600e6, 300e6, 250e6, 150e6}, {200e6, 150e6, 100e6, 100e6}}
	// One of each platform of a repository.
	corpusMiddle = int64(40e6)
	// Of each image.
	corpusTops = []int64{5e6, 500e3, 20e3, 1e3}
)

// corpus is what there is at the source, to be compared with what arrives somewhere.
type corpus struct {
	host      string
	images    []corpusImage
	referrers []corpusReferrer
	blobs     map[string]corpusBlob // by digest
	bytes     int64
	lower     map[[2]string][]bundle.Descriptor // layers below the tops, by repository and platform
	next      uint64
}

type corpusImage struct{ repository, tag, digest, cosignTag string }

type corpusReferrer struct{ repository, subject, digest string }

// corpusBlob has the first repository that got it, and all.
type corpusBlob struct {
	size         int64
	repositories []string
}

// references are REPOSITORY:TAG of all images.
func (c *corpus) references() (list []string) {
	for _, image := range c.images {
		list = append(list, image.repository+":"+image.tag)
	}
	return list
}

// repositories are those of the images.
func (c *corpus) repositories() (list []string) {
	for _, image := range c.images {
		list = append(list, image.repository)
	}
	return slices.Compact(list)
}

func makeCorpus(t testing.TB, host string) *corpus {
	c := &corpus{host: host, blobs: map[string]corpusBlob{}, lower: map[[2]string][]bundle.Descriptor{}}
	bases := map[string]bundle.Descriptor{}
	for r := range corpusRepositories {
		repository := fmt.Sprintf("acme/app%d", r)
		for p, architecture := range corpusPlatforms {
			at := r % len(corpusBases[p])
			key := fmt.Sprint(architecture, at)
			if d, made := bases[key]; made {
				c.mount(t, repository, d)
			} else {
				bases[key] = c.random(t, repository, corpusBases[p][at])
			}
			c.lower[[2]string{repository, architecture}] = []bundle.Descriptor{bases[key], c.random(t, repository, corpusMiddle)}
		}
		for tag := range corpusTags {
			c.images = append(c.images, c.image(t, repository, fmt.Sprintf("v%d", tag)))
		}
	}
	c.listReferrers(t)
	return c
}

// image makes an image with top layers, and proofs, of its own.
func (c *corpus) image(t testing.TB, repository, tag string) corpusImage {
	index := bundle.Manifest{SchemaVersion: 2, MediaType: bundle.MediaTypeOCIIndex}
	for _, architecture := range corpusPlatforms {
		layers := slices.Clone(c.lower[[2]string{repository, architecture}])
		for _, size := range corpusTops {
			layers = append(layers, c.random(t, repository, size))
		}
		config := c.small(t, repository, fmt.Appendf(nil, `{"architecture":%q,"os":"linux","rootfs":{"type":"layers","diff_ids":[]},"of":"%s:%s:%d"}`, architecture, repository, tag, c.next))
		config.MediaType = "application/vnd.oci.image.config.v1+json"
		m := c.manifest(t, repository, "", bundle.Manifest{SchemaVersion: 2, MediaType: bundle.MediaTypeOCIManifest, Config: &config, Layers: layers})
		m.Platform = &platform.Platform{OS: "linux", Architecture: architecture}
		index.Manifests = append(index.Manifests, m)
		for _, size := range []int64{300e3, 50e3} {
			proof := c.refer(t, repository, m, "application/vnd.in-toto+json", size)
			c.refer(t, repository, proof, "application/vnd.dev.cosign.artifact.sig.v1+json", 3e3)
		}
	}
	root := c.manifest(t, repository, tag, index)
	c.refer(t, repository, root, "application/vnd.dev.sigstore.bundle.v0.3+json", 8e3)
	signature := c.artifact(t, repository, "application/vnd.dev.cosign.simplesigning.v1+json", 1e3, nil)
	cosignTag := root.Digest.FallbackTag() + ".sig"
	c.manifest(t, repository, cosignTag, signature)
	return corpusImage{repository, tag, root.Digest.String(), cosignTag}
}

// rebuild makes every nth image anew, and returns the blobs that are new because of it, without their proofs' manifests.
func (c *corpus) rebuild(t testing.TB, n int) map[string]corpusBlob {
	known := maps.Clone(c.blobs)
	for i := 0; i < len(c.images); i += n {
		c.images[i] = c.image(t, c.images[i].repository, c.images[i].tag)
	}
	c.listReferrers(t)
	fresh := maps.Clone(c.blobs)
	maps.DeleteFunc(fresh, func(digest string, _ corpusBlob) bool { _, old := known[digest]; return old })
	return fresh
}

func (c *corpus) artifact(t testing.TB, repository, artifactType string, size int64, subject *bundle.Descriptor) bundle.Manifest {
	empty := c.small(t, repository, []byte("{}"))
	empty.MediaType = "application/vnd.oci.empty.v1+json"
	layer := c.random(t, repository, size)
	layer.MediaType = artifactType
	return bundle.Manifest{
		SchemaVersion: 2, MediaType: bundle.MediaTypeOCIManifest, ArtifactType: artifactType,
		Config: &empty, Layers: []bundle.Descriptor{layer}, Subject: subject,
	}
}

// refer makes a referrer of a subject.
func (c *corpus) refer(t testing.TB, repository string, subject bundle.Descriptor, artifactType string, size int64) bundle.Descriptor {
	subject.Platform = nil
	d := c.manifest(t, repository, "", c.artifact(t, repository, artifactType, size, &subject))
	d.ArtifactType = artifactType
	c.referrers = append(c.referrers, corpusReferrer{repository, subject.Digest.String(), d.Digest.String()})
	return d
}

// listReferrers writes the lists under fallback tags, as clients of a registry without the referrers API do.
func (c *corpus) listReferrers(t testing.TB) {
	lists := map[[2]string]*bundle.Manifest{}
	for _, r := range c.referrers {
		key := [2]string{r.repository, strings.Replace(r.subject, ":", "-", 1)}
		if lists[key] == nil {
			lists[key] = &bundle.Manifest{SchemaVersion: 2, MediaType: bundle.MediaTypeOCIIndex}
		}
		content := getManifest(t, c.host, r.repository, r.digest)
		var m bundle.Manifest
		if err := json.Unmarshal(content, &m); err != nil {
			t.Fatal(err)
		}
		digest, err := bundle.ParseDigest(r.digest)
		if err != nil {
			t.Fatal(err)
		}
		lists[key].Manifests = append(lists[key].Manifests, bundle.Descriptor{
			MediaType: m.MediaType, Digest: digest, Size: int64(len(content)), ArtifactType: m.ArtifactType,
		})
	}
	for key, list := range lists {
		c.manifest(t, key[0], key[1], *list)
	}
}

// random uploads a gzip stream of so many bytes, and a few more, that depends on nothing but how many were made before.
func (c *corpus) random(t testing.TB, repository string, size int64) bundle.Descriptor {
	c.next++
	var seed [32]byte
	copy(seed[:], fmt.Sprint(c.next))
	h, counted := sha256.New(), &counter{}
	if err := writeStored(io.MultiWriter(h, counted), seed, size); err != nil {
		t.Fatal(err)
	}
	d := bundle.Descriptor{MediaType: "application/vnd.oci.image.layer.v1.tar+gzip", Digest: bundle.Digest(h.Sum(nil)), Size: counted.n}
	content, in := io.Pipe()
	go func() { in.CloseWithError(writeStored(in, seed, size)) }()
	c.upload(t, repository, d, content)
	return d
}

type counter struct{ n int64 }

func (c *counter) Write(p []byte) (int, error) {
	c.n += int64(len(p))
	return len(p), nil
}

// writeStored writes random bytes as gzip stores what it cannot compress. skopeo would compress layers that are not.
func writeStored(w io.Writer, seed [32]byte, size int64) error {
	out, err := gzip.NewWriterLevel(w, gzip.NoCompression)
	if err != nil {
		return err
	}
	if _, err := io.CopyN(out, rand.NewChaCha8(seed), size); err != nil {
		return err
	}
	return out.Close()
}

func (c *corpus) small(t testing.TB, repository string, content []byte) bundle.Descriptor {
	d := bundle.Descriptor{Digest: bundle.DigestOf(content), Size: int64(len(content))}
	if slices.Contains(c.blobs[d.Digest.String()].repositories, repository) {
		return d
	}
	c.upload(t, repository, d, bytes.NewReader(content))
	return d
}

func (c *corpus) note(repository string, d bundle.Descriptor) {
	b := c.blobs[d.Digest.String()]
	if b.repositories == nil {
		c.bytes += d.Size
	}
	b.size, b.repositories = d.Size, append(b.repositories, repository)
	c.blobs[d.Digest.String()] = b
}

func (c *corpus) upload(t testing.TB, repository string, d bundle.Descriptor, content io.Reader) {
	if err := pushBlob(c.host, repository, d.Digest.String(), d.Size, content); err != nil {
		t.Fatal(err)
	}
	c.note(repository, d)
}

func (c *corpus) mount(t testing.TB, repository string, d bundle.Descriptor) {
	b := c.blobs[d.Digest.String()]
	if slices.Contains(b.repositories, repository) {
		return
	}
	if err := mountBlob(c.host, repository, b.repositories[0], d.Digest.String()); err != nil {
		t.Fatal(err)
	}
	c.note(repository, d)
}

// manifest writes a manifest under a tag or, where that is "", its digest.
func (c *corpus) manifest(t testing.TB, repository, tag string, m bundle.Manifest) bundle.Descriptor {
	content, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	d := bundle.Descriptor{MediaType: m.MediaType, Digest: bundle.DigestOf(content), Size: int64(len(content))}
	if tag == "" {
		tag = d.Digest.String()
	}
	if err := putManifest(c.host, repository, tag, m.MediaType, content); err != nil {
		t.Fatal(err)
	}
	return d
}

func putManifest(host, repository, reference, mediaType string, content []byte) error {
	request, err := http.NewRequest(http.MethodPut, "http://"+host+"/v2/"+repository+"/manifests/"+reference, bytes.NewReader(content))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", mediaType)
	_, err = exchange(request, http.StatusCreated)
	return err
}

// pushBlob uploads a blob in the plainest way there is. A file is sent by the system itself, without a copy.
func pushBlob(host, repository, digest string, size int64, content io.Reader) error {
	begin, err := http.NewRequest(http.MethodPost, "http://"+host+"/v2/"+repository+"/blobs/uploads/", nil)
	if err != nil {
		return err
	}
	response, err := exchange(begin, http.StatusAccepted)
	if err != nil {
		return err
	}
	location, err := url.Parse(response.Header.Get("Location"))
	if err != nil {
		return err
	}
	query := location.Query()
	query.Set("digest", digest)
	location.RawQuery = query.Encode()
	put, err := http.NewRequest(http.MethodPut, location.String(), io.NopCloser(content))
	if err != nil {
		return err
	}
	put.ContentLength = size
	put.Header.Set("Content-Type", "application/octet-stream")
	_, err = exchange(put, http.StatusCreated)
	return err
}

func mountBlob(host, repository, from, digest string) error {
	query := url.Values{"mount": {digest}, "from": {from}}.Encode()
	request, err := http.NewRequest(http.MethodPost, "http://"+host+"/v2/"+repository+"/blobs/uploads/?"+query, nil)
	if err != nil {
		return err
	}
	_, err = exchange(request, http.StatusCreated)
	return err
}

// corpusClient keeps as many connections as any of the benchmarks has requests under way.
var corpusClient = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 16}}

// exchange sends a request that has to be answered with one status, and reads the answer to its end.
func exchange(request *http.Request, status int) (*http.Response, error) {
	response, err := corpusClient.Do(request)
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(response.Body)
	if err = errors.Join(err, response.Body.Close()); err == nil && response.StatusCode != status {
		err = fmt.Errorf("%s %s: %s: %.300s", request.Method, request.URL, response.Status, body)
	}
	response.Body = io.NopCloser(bytes.NewReader(body))
	return response, err
}

// get returns a manifest, or nil where there is none.
func getManifest(t testing.TB, host, repository, reference string) []byte {
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+host+"/v2/"+repository+"/manifests/"+reference, nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Accept", bundle.MediaTypeOCIIndex+", "+bundle.MediaTypeOCIManifest)
	response, err := exchange(request, http.StatusOK)
	if err != nil && (response == nil || response.StatusCode != http.StatusNotFound) {
		t.Fatal(err)
	}
	if err != nil {
		return nil
	}
	content, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

// lost says what of the corpus is not at a target, under a prefix.
func (c *corpus) lost(t testing.TB, host, prefix string) string {
	var tags, cosign, referrers int
	for _, image := range c.images {
		content := getManifest(t, host, prefix+image.repository, image.tag)
		if content == nil || bundle.DigestOf(content).String() != image.digest {
			tags++
		}
		if getManifest(t, host, prefix+image.repository, image.cosignTag) == nil {
			cosign++
		}
	}
	for _, r := range c.referrers {
		var list bundle.Manifest
		if content := getManifest(t, host, prefix+r.repository, strings.Replace(r.subject, ":", "-", 1)); content != nil {
			if err := json.Unmarshal(content, &list); err != nil {
				t.Fatal(err)
			}
		}
		listed := slices.ContainsFunc(list.Manifests, func(d bundle.Descriptor) bool { return d.Digest.String() == r.digest })
		if !listed || getManifest(t, host, prefix+r.repository, r.digest) == nil {
			referrers++
		}
	}
	var lost []string
	for _, l := range []struct {
		n, of int
		what  string
	}{{tags, len(c.images), "tags"}, {referrers, len(c.referrers), "referrers"}, {cosign, len(c.images), "cosign tags"}} {
		if l.n > 0 {
			lost = append(lost, fmt.Sprintf("%d of %d %s", l.n, l.of, l.what))
		}
	}
	if len(lost) == 0 {
		return "nothing"
	}
	return strings.Join(lost, ", ")
}
