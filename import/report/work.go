package report

import (
	"slices"

	"airgap/import/inventory"
)

// Work counts blobs and manifests once for each repository that needs them, and bytes of blobs likewise.
type Work struct {
	BlobsPushed  int   `json:"blobsPushed"`  // uploaded from the bundle
	BlobsMounted int   `json:"blobsMounted"` // taken from another repository of the target
	BlobsPresent int   `json:"blobsPresent"` // there already
	BytesPushed  int64 `json:"bytesPushed"`
	BytesMounted int64 `json:"bytesMounted"`
	BytesPresent int64 `json:"bytesPresent"`

	// Of these blobs, each counted once, only the target says that they are right: none was uploaded.
	BlobsVouched int   `json:"blobsVouched"`
	BytesVouched int64 `json:"bytesVouched"`

	ManifestsPushed  int `json:"manifestsPushed"`
	ManifestsPresent int `json:"manifestsPresent"`
	TagsMoved        int `json:"tagsMoved"`
	TagsUnchanged    int `json:"tagsUnchanged"`
	FallbackTags     int `json:"fallbackTags"` // lists of referrers written, at targets without the API; not planned
}

// Planned counts what there is to do, and what is there, by what the survey has found.
func Planned(inv *inventory.Inventory) Work {
	w := Done(inv)
	for blob := range inv.Blobs() {
		size := inv.Size(blob.Row)
		_, somewhere := inv.Mountable(blob)
		for _, s := range blob.States() {
			switch {
			case s.IsThere():
			case !somewhere && inventory.IsLeftOut(inv, blob.Row): // and cannot be brought
			case somewhere:
				w.BlobsMounted++
				w.BytesMounted += size
			default:
				w.BlobsPushed++
				w.BytesPushed += size
				somewhere = true
			}
		}
	}
	for manifest := range inv.Manifests() {
		if !inv.State(manifest).IsThere() {
			w.ManifestsPushed++
		}
	}
	for i := range inv.Tags {
		if !inv.Tags[i].IsRight() {
			w.TagsMoved++
		}
	}
	return w
}

// Done counts what was done and what was there, but for the lists under fallback tags.
func Done(inv *inventory.Inventory) (w Work) {
	for blob := range inv.Blobs() {
		w.addBlob(blob, inv.Size(blob.Row))
	}
	for manifest := range inv.Manifests() {
		switch inv.State(manifest) {
		case inventory.Present:
			w.ManifestsPresent++
		case inventory.Pushed, inventory.Acknowledged:
			w.ManifestsPushed++
		}
	}
	for i := range inv.Tags {
		switch tagStatus(&inv.Tags[i]) {
		case StatusMoved:
			w.TagsMoved++
		case StatusUnchanged:
			w.TagsUnchanged++
		}
	}
	return w
}

func (w *Work) addBlob(blob inventory.Blob, size int64) {
	for _, s := range blob.States() {
		switch s {
		case inventory.Present:
			w.BlobsPresent++
			w.BytesPresent += size
		case inventory.Mounted:
			w.BlobsMounted++
			w.BytesMounted += size
		case inventory.Pushed:
			w.BlobsPushed++
			w.BytesPushed += size
		}
	}
	if blob.IsHeld() && !slices.Contains(blob.States(), inventory.Pushed) {
		w.BlobsVouched++
		w.BytesVouched += size
	}
}

// Changes tells whether any of it is something that was written.
func (w Work) Changes() bool {
	return w.BlobsPushed+w.BlobsMounted+w.ManifestsPushed+w.TagsMoved+w.FallbackTags > 0
}
