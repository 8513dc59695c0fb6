package importer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"airgap/bundle"
	"airgap/export/registry"
)

// ErrRefused: the target does not take a kind of artifact that the bundle brings.
var ErrRefused = errors.New("the target does not take this kind of artifact")

// Bounds on the samples, and on what is done to find them.
const (
	maxSamples     = 32
	maxSampleBytes = 1 << 20 // of all blobs of one
	// maxSampleReads is how many manifests of one media type and artifact type are read, to see which configs they have.
	maxSampleReads = 256
)

// kind is what registries look at when they refuse a manifest. Some take no artifact type or config but those that they
// know, and some not the empty config.
// https://github.com/opencontainers/image-spec/blob/v1.1.1/manifest.md#guidelines-for-artifact-usage
type kind struct{ mediaType, artifactType, configType string }

func (k kind) String() string {
	text := "media type " + k.mediaType
	if k.artifactType != "" {
		text += ", artifact type " + k.artifactType
	}
	if k.configType != "" {
		text += ", config " + k.configType
	}
	return text
}

// isImage tells whether it is what every registry takes: an image or an index of images.
func (k kind) isImage() bool {
	if bundle.IsIndex(k.mediaType) {
		return k.artifactType == ""
	}
	return k.artifactType == "" &&
		(k.configType == "application/vnd.oci.image.config.v1+json" || k.configType == "application/vnd.docker.container.image.v1+json")
}

// sample is a small manifest of its kind that the target lacks.
type sample struct {
	kind
	repo, row int32
	size      int64 // of its blobs, in bytes
}

// pushSamples pushes one small manifest of each kind that is no plain image, by its digest and with its blobs, before the
// bulk is sent: whether a target takes a kind shows only when one is pushed. A referrer may be pushed before its subject.
// What is pushed here is part of the import, and is not pushed again.
//
// From a pipe and from media that are changed, blobs come in the order in which they lie there, and nothing is pushed
// beforehand; nor to Harbor, which takes all kinds (observed at 2.14.4).
//
// https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#pushing-manifests-with-subject
func (r *run) pushSamples(ctx context.Context) error {
	if r.plan.bundle.Sequential() || r.plan.bundle.Removable() || r.options.Harbor != nil {
		return nil
	}
	samples, err := r.plan.samples()
	if err != nil || len(samples) == 0 {
		return err
	}
	r.observer.Phase("push samples", r.plan.unheldOf(samples))
	for _, s := range samples {
		if err := r.pushSample(ctx, s); err != nil {
			return err
		}
	}
	return nil
}

func (r *run) pushSample(ctx context.Context, s sample) error {
	for _, row := range r.plan.graph.Node(int(s.row)).Blobs {
		if err := r.pushSampleBlob(ctx, use{row: row, repo: s.repo}); err != nil {
			return err
		}
	}
	repo := &r.plan.repositories[s.repo]
	taken, err := r.pushManifest(ctx, s.row, repo.name.Digest(r.plan.digest(s.row).String()))
	switch {
	case refused(err) && r.missesSubject(err, s):
		return nil // against the specification, which is no reason to fail before it is tried in the right order
	case refused(err) && !errors.Is(err, registry.ErrRepositoryUnknown):
		return fmt.Errorf("%w: %s: refused by %s: let the registry accept it, or leave out the images that bring it with --only: %s",
			ErrRefused, s.kind, repo.name, err.Error()) // not wrapped: that it was "not found" means something else
	case err != nil:
		return err
	}
	at, _ := repo.find(s.row)
	repo.states[at] = pushed
	if taken {
		repo.states[at] = acknowledged
	}
	return nil
}

// missesSubject tells whether the target may have refused a referrer because it does not have the subject yet.
func (r *run) missesSubject(err error, s sample) bool {
	row, inBundle := r.plan.contents.Find(r.plan.subject(s.row))
	if !inBundle {
		return false
	}
	repo := &r.plan.repositories[s.repo]
	at, here := repo.find(int32(row))
	var answer *registry.Error
	return here && !repo.states[at].isThere() && errors.As(err, &answer) && slices.ContainsFunc(answer.Codes, func(code string) bool {
		return code == "MANIFEST_UNKNOWN" || code == "MANIFEST_BLOB_UNKNOWN"
	})
}

// pushSampleBlob brings a blob into a repository that lacks it.
func (r *run) pushSampleBlob(ctx context.Context, wanted use) error {
	blob := r.plan.usesOf(wanted.row)
	at := slices.Index(blob.uses, wanted)
	if blob.states[at].isThere() {
		return nil
	}
	t := transfer{run: r}
	from, isHeld := r.plan.mountable(blob)
	if isHeld && t.mount(ctx, wanted, from) {
		blob.states[at] = mounted
		return nil
	}
	if err := t.upload(ctx, wanted, nil, !isHeld); err != nil {
		return err
	}
	blob.states[at] = pushed
	return nil
}

// unheldOf returns how many bytes the blobs of samples have that are found nowhere at the target, which are uploaded.
func (p *plan) unheldOf(samples []sample) (total int64) {
	counted := map[int32]bool{}
	for _, s := range samples {
		for _, row := range p.graph.Node(int(s.row)).Blobs {
			if _, isHeld := p.mountable(p.usesOf(row)); !isHeld && !counted[row] {
				total += p.contents.Blobs[row].Size
			}
			counted[row] = true
		}
	}
	return total
}

// samples chooses the smallest manifest of each kind.
func (p *plan) samples() ([]sample, error) {
	candidates := p.sampleCandidates()
	var samples []sample
	for alike := range slicesBy(candidates, func(a, b sample) bool { return a.kind == b.kind }) {
		seen := map[kind]bool{}
		for _, s := range alike[:min(len(alike), maxSampleReads)] {
			m, err := p.manifest(s.row)
			if err != nil {
				return nil, err
			}
			if m.Config != nil {
				s.configType = m.Config.MediaType
			}
			if seen[s.kind] || s.isImage() {
				continue
			}
			seen[s.kind] = true
			if samples = append(samples, s); len(samples) == maxSamples {
				return samples, nil
			}
		}
	}
	return samples, nil
}

// sampleCandidates returns the manifests that are small enough, those of one kind together and the smallest first. Their
// kinds lack the configs, which only the manifests themselves say.
func (p *plan) sampleCandidates() []sample {
	var candidates []sample
	for i := range p.repositories {
		repo := &p.repositories[i]
		for at, row := range repo.manifests {
			node := p.graph.Node(int(row))
			size, small := p.sampleSize(&node)
			if repo.states[at] == lacking && small {
				candidates = append(candidates, sample{kind{node.MediaType, node.ArtifactType, ""}, int32(i), row, size})
			}
		}
	}
	slices.SortFunc(candidates, func(a, b sample) int {
		return cmp.Or(cmp.Compare(a.mediaType, b.mediaType), cmp.Compare(a.artifactType, b.artifactType),
			cmp.Compare(a.size, b.size), cmp.Compare(a.row, b.row), cmp.Compare(a.repo, b.repo))
	})
	return slices.CompactFunc(candidates, func(a, b sample) bool { return a.row == b.row })
}

// sampleSize returns how many bytes the blobs of a manifest have, and whether it can be pushed by itself: it lists no
// manifests, and all of its blobs are in the bundle and together small.
func (p *plan) sampleSize(node *bundle.Node) (size int64, small bool) {
	if len(node.Children) > 0 || node.Sparse {
		return 0, false
	}
	for _, row := range node.Blobs {
		b := p.contents.Blobs[row]
		if size += b.Size; !b.IsStored() || size > maxSampleBytes {
			return 0, false
		}
	}
	return size, true
}
