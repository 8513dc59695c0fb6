// Package push writes manifests of a bundle to the target, with the bytes that they had at the source.
package push

import (
	"context"
	"fmt"

	"github.com/google/go-containerregistry/pkg/name"

	"airgap/bundle"
	"airgap/import/inventory"
)

// Target is where manifests go.
type Target interface {
	// PushManifest writes a manifest under a tag or its digest, and tells whether the registry said that it lists the
	// manifest for its subject (OCI-Subject).
	PushManifest(ctx context.Context, ref name.Reference, mediaType string, body []byte) (subjectAcknowledged bool, err error)
}

// Manifest writes the manifest in a row under a reference. acknowledged tells whether the target has said that it lists it for
// its subject.
func Manifest(ctx context.Context, t Target, inv *inventory.Inventory, row int32, ref name.Reference) (acknowledged bool, err error) {
	content, err := inv.Bundle.Manifest(inv.Digest(row))
	if err == nil {
		acknowledged, err = t.PushManifest(ctx, ref, inv.Graph.Node(int(row)).MediaType, content)
	}
	if err != nil {
		return false, fmt.Errorf("%s: %w%s", inv.Path(row), err, leftOut(inv, row))
	}
	return acknowledged, nil
}

// ByDigest writes a manifest that a repository needs, and marks it as pushed.
func ByDigest(ctx context.Context, t Target, inv *inventory.Inventory, n inventory.Need) error {
	acknowledged, err := Manifest(ctx, t, inv, n.Row, inv.Name(n))
	if err != nil {
		return err
	}
	state := inventory.Pushed
	if acknowledged {
		state = inventory.Acknowledged
	}
	inv.Mark(n, state)
	return nil
}

// leftOut says for an error why a target may refuse a manifest whose layers are not all in the bundle. Distribution does
// so unless its validation.manifests.urls allow the layers' URLs.
func leftOut(inv *inventory.Inventory, row int32) string {
	for _, blob := range inv.Graph.Node(int(row)).Blobs {
		if b := inv.Contents.Blobs[blob]; b.Stored == bundle.StoredNondistributable {
			return fmt.Sprintf("; its layer %s may not be distributed and was left out of the bundle: let the registry accept the URLs of such layers, or export with --include-nondistributable", b.Digest)
		}
	}
	return ""
}
