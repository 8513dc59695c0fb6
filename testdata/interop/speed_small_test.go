package interop

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sync/errgroup"

	"airgap/bundle"
)

// The corpus of many small images, where requests are the work and not bytes: each has a config of its own and a layer
// that it shares with its repository.
const (
	smallRepositories = 300
	smallTags         = 5100
	smallJobs         = 8
)

// smallImage is one of them.
type smallImage struct {
	repository, tag string
	config          []byte
	manifest        []byte
}

func (i *smallImage) digest() string { return bundle.DigestOf(i.manifest).String() }

// BenchmarkManySmallImages is the other half of "make bench": planning and importing 5,100 tags in 300 repositories, and
// the floors, which send the same requests without looking at anything. It prints a Markdown table, as the first half does.
func BenchmarkManySmallImages(b *testing.B) {
	r := newRace(b)
	corpus := makeSmallCorpus(b)
	if err := pushSmall(r.source.host, corpus); err != nil {
		b.Fatal(err)
	}
	r.lost = func(target string) string { return lostSmall(b, target, corpus) }
	r.run(b, r.smallContenders(b, corpus))
	fmt.Print(r.table(fmt.Sprintf("%d repositories, %d tags", smallRepositories, smallTags), smallBytes(corpus)))
}

func makeSmallCorpus(b *testing.B) (corpus []smallImage) {
	for i := range smallTags {
		repository := fmt.Sprintf("acme/team%02d/app%03d", i%20, i%smallRepositories)
		layer := smallLayer(repository)
		config := fmt.Appendf(nil, `{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]},"of":%d}`, i)
		content := fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":%q,"size":%d},`+
			`"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":%q,"size":%d}]}`,
			bundle.MediaTypeOCIManifest, bundle.DigestOf(config), len(config), bundle.DigestOf(layer), len(layer))
		corpus = append(corpus, smallImage{repository, fmt.Sprintf("v%d", i/smallRepositories), config, content})
	}
	return corpus
}

// smallBytes is how many bytes the images have, without their layers.
func smallBytes(corpus []smallImage) (total int64) {
	for _, image := range corpus {
		total += int64(len(image.config) + len(image.manifest))
	}
	return total
}

func smallLayer(repository string) []byte { return []byte(strings.Repeat(repository, 50)) }

// pushSmall is the floor of an import: two requests for each blob, and two for each manifest, by digest and by tag.
func pushSmall(host string, corpus []smallImage) error {
	var group errgroup.Group
	group.SetLimit(smallJobs)
	for i := range corpus {
		group.Go(func() error {
			image := &corpus[i]
			if i < smallRepositories {
				if err := pushSmallBlob(host, image.repository, smallLayer(image.repository)); err != nil {
					return err
				}
			}
			return pushSmallBlob(host, image.repository, image.config)
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	for i := range corpus {
		group.Go(func() error {
			image := &corpus[i]
			return errors.Join(putManifest(host, image.repository, image.digest(), bundle.MediaTypeOCIManifest, image.manifest),
				putManifest(host, image.repository, image.tag, bundle.MediaTypeOCIManifest, image.manifest))
		})
	}
	return group.Wait()
}

func pushSmallBlob(host, repository string, content []byte) error {
	return pushBlob(host, repository, bundle.DigestOf(content).String(), int64(len(content)), strings.NewReader(string(content)))
}

func lostSmall(b *testing.B, host string, corpus []smallImage) string {
	lost := 0
	for i := range corpus {
		if !slices.Equal(getManifest(b, host, corpus[i].repository, corpus[i].tag), corpus[i].manifest) {
			lost++
		}
	}
	if lost > 0 {
		return fmt.Sprintf("%d of %d tags", lost, len(corpus))
	}
	return "nothing"
}

func (r *race) smallContenders(b *testing.B, corpus []smallImage) []contender {
	config := fmt.Sprintf("version: 1\nsync:\n- {type: registry, source: %s, target: mirror.example.com}\n", r.source.host)
	if err := os.WriteFile(filepath.Join(r.dir, "regsync.yaml"), []byte(config), 0o600); err != nil {
		b.Fatal(err)
	}
	cache := filepath.Join(r.dir, "cache")
	plan := func(m *measured) { m.run("airgap", "plan", "-q", "-c", "regsync.yaml", "--cache-dir", cache) }
	return []contender{
		{
			name: "curl --parallel, and a bare push with two PUTs", isFloor: true,
			plan: func(m *measured) { r.curlSmall(m, corpus, "") }, planAgain: func(m *measured) { r.curlSmall(m, corpus, "") },
			load: func(m *measured, _, target string) {
				if err := pushSmall(target, corpus); err != nil {
					m.Fatal(err)
				}
			},
		},
		{
			name: "airgap",
			plan: func(m *measured) {
				if err := os.RemoveAll(cache); err != nil {
					m.Fatal(err)
				}
				plan(m)
			},
			planAgain: plan,
			export: func(m *measured, dir string) {
				m.run("airgap", "export", "-q", "-c", "regsync.yaml", "--cache-dir", "none", "--key", "airgap.key", "-o", dir+"/bundle.tar")
			},
			verify: func(m *measured, dir string) {
				m.run("airgap", "verify", "-q", dir+"/bundle.tar", "--key", "airgap.pub")
			},
			load: func(m *measured, dir, target string) {
				m.run("airgap", "import", "-q", dir+"/bundle.tar", target, "--key", "airgap.pub")
			},
			again: true,
		},
	}
}

// curlSmall fetches every manifest by its tag, or, with the option head, asks for it, and checks nothing.
func (r *race) curlSmall(m *measured, corpus []smallImage, option string) {
	var config strings.Builder
	fmt.Fprintln(&config, option)
	fmt.Fprintf(&config, "header = \"Accept: %s\"\n", bundle.MediaTypeOCIManifest)
	for i := range corpus {
		fmt.Fprintf(&config, "url = \"http://%s/v2/%s/manifests/%s\"\noutput = \"/dev/null\"\n", r.source.host, corpus[i].repository, corpus[i].tag)
	}
	file := filepath.Join(r.dir, "curl.txt")
	if err := os.WriteFile(file, []byte(config.String()), 0o600); err != nil {
		m.Fatal(err)
	}
	m.run("curl", "--parallel", "--fail", "--silent", "--show-error", "--config", file)
}
