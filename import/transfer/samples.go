package transfer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"airgap/bundle"
	"airgap/export/registry"
	"airgap/import/inventory"
	"airgap/import/push"
	"airgap/import/target"
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
	inventory.Need
	size int64 // of its blobs, in bytes
}

// Samples pushes one small manifest of each kind that is no plain image, by its digest and with its blobs, before the
// bulk is sent: whether a target takes a kind shows only when one is pushed. A referrer may be pushed before its subject.
// What is pushed here is part of the import, and is not pushed again.
//
// From a pipe and from media that are changed only what is kept can be pushed beforehand: configs and attestations.
//
// https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#pushing-manifests-with-subject
func (t *Transfer) Samples(ctx context.Context) error {
	samples, err := chooseSamples(t.inv)
	if err != nil || len(samples) == 0 {
		return err
	}
	t.uploader.countsBytes = true
	t.options.Observer.Phase("push samples", unheldOf(t.inv, samples))
	for _, s := range samples {
		if err := t.sample(ctx, s); err != nil {
			return err
		}
	}
	return nil
}

func (t *Transfer) sample(ctx context.Context, s sample) error {
	for _, need := range t.inv.BlobsOf(s.Need) {
		if t.inv.State(need).IsThere() {
			continue
		}
		if err := t.uploader.deliver(ctx, t.inv.Blob(need.Row), need, nil); err != nil {
			return err
		}
	}
	err := push.ByDigest(ctx, t.target, t.inv, s.Need)
	switch {
	case target.Refused(err) && missesSubject(t.inv, err, s.Need):
		return nil // against the specification, which is no reason to fail before it is tried in the right order
	case target.Refused(err) && !errors.Is(err, registry.ErrRepositoryUnknown):
		return fmt.Errorf("%w: %s: refused by %s: let the registry accept it, or leave out the images that bring it with --only: %s",
			ErrRefused, s.kind, t.inv.Repos[s.Repo], err.Error()) // not wrapped: that it was "not found" means something else
	}
	return err
}

// missesSubject tells whether the target may have refused a referrer because it does not have the subject yet.
func missesSubject(inv *inventory.Inventory, err error, referrer inventory.Need) bool {
	row, inBundle := inv.Contents.Find(inv.Subject(referrer.Row))
	if !inBundle {
		return false
	}
	subject := inventory.Need{Row: int32(row), Repo: referrer.Repo}
	var answer *registry.Error
	return inv.Needs(subject) && !inv.State(subject).IsThere() && errors.As(err, &answer) && slices.ContainsFunc(answer.Codes, func(code string) bool {
		return code == "MANIFEST_UNKNOWN" || code == "MANIFEST_BLOB_UNKNOWN"
	})
}

// unheldOf returns how many bytes the blobs of samples have that are found nowhere at the target, which are uploaded.
func unheldOf(inv *inventory.Inventory, samples []sample) (total int64) {
	counted := map[int32]bool{}
	for _, s := range samples {
		for _, row := range inv.Graph.Node(int(s.Row)).Blobs {
			if _, isHeld := inv.Mountable(inv.Blob(row)); !isHeld && !counted[row] {
				total += inv.Size(row)
			}
			counted[row] = true
		}
	}
	return total
}

// chooseSamples returns the smallest manifest of each kind.
func chooseSamples(inv *inventory.Inventory) (samples []sample, err error) {
	reads := map[kind]int{} // by what is known of kinds before manifests are read
	seen := map[kind]bool{}
	for _, s := range sampleCandidates(inv) {
		if reads[s.kind]++; reads[s.kind] > maxSampleReads {
			continue
		}
		m, err := inv.Manifest(s.Row)
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
			break
		}
	}
	return samples, nil
}

// sampleCandidates returns the manifests that are small enough, those of one kind together and the smallest first. Their
// kinds lack the configs, which only the manifests themselves say.
func sampleCandidates(inv *inventory.Inventory) []sample {
	var candidates []sample
	for n := range inv.Manifests() {
		node := inv.Graph.Node(int(n.Row))
		size, small := sampleSize(inv, &node)
		if !inv.State(n).IsThere() && small {
			candidates = append(candidates, sample{kind{node.MediaType, node.ArtifactType, ""}, n, size})
		}
	}
	slices.SortFunc(candidates, func(a, b sample) int {
		return cmp.Or(cmp.Compare(a.mediaType, b.mediaType), cmp.Compare(a.artifactType, b.artifactType),
			cmp.Compare(a.size, b.size), cmp.Compare(a.Row, b.Row), cmp.Compare(a.Repo, b.Repo))
	})
	return slices.CompactFunc(candidates, func(a, b sample) bool { return a.Row == b.Row })
}

// sampleSize returns how many bytes the blobs of a manifest have, and whether it can be pushed by itself: it lists no
// manifests, and all of its blobs can be read beforehand and are together small.
func sampleSize(inv *inventory.Inventory, node *bundle.Node) (size int64, small bool) {
	if len(node.Children) > 0 || node.Sparse {
		return 0, false
	}
	for _, row := range node.Blobs {
		b := inv.Contents.Blobs[row]
		if size += b.Size; !b.IsStored() || !inv.Bundle.IsKept(int(row)) || size > maxSampleBytes {
			return 0, false
		}
	}
	return size, true
}
