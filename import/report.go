package importer

import (
	"time"

	"airgap/bundle"
)

// Report is what an import did, or with Options.DryRun would do, as far as it got. The rows are in the order of the
// bundle's tables, tags by repository and name.
type Report struct {
	Bundle   bundle.Digest `json:"bundle"` // the manifest index
	Target   string        `json:"target"` // REGISTRY[/PREFIX]
	Started  time.Time     `json:"started"`
	Seconds  float64       `json:"seconds"`
	DryRun   bool          `json:"dryRun"`
	Complete bool          `json:"complete"` // everything is at the target, and was read back
	Changed  bool          `json:"changed"`  // something was written

	Images    []ImageRow    `json:"images"`
	Referrers []ReferrerRow `json:"referrers"`
	Tags      []TagMove     `json:"tags"`

	Planned Work `json:"planned"` // what there was to do
	Done    Work `json:"done"`    // what was done

	// Excluded are the sources of images that Options.Only left out.
	Excluded []string `json:"excluded,omitempty"`
	// Nondistributable are layers that the bundle names and does not hold: whoever runs these images needs them from
	// elsewhere.
	Nondistributable []bundle.Digest `json:"nondistributable,omitempty"`
}

// Work counts blobs and manifests once for each repository that needs them, and bytes likewise.
type Work struct {
	BlobsPushed   int   `json:"blobsPushed"`  // uploaded from the bundle
	BlobsMounted  int   `json:"blobsMounted"` // taken from another repository of the target
	BlobsPresent  int   `json:"blobsPresent"` // there already
	BytesPushed   int64 `json:"bytesPushed"`
	BytesMounted  int64 `json:"bytesMounted"`
	BytesPresent  int64 `json:"bytesPresent"`
	BlobsVouched  int   `json:"blobsVouched"` // different blobs of which only the target says that they are right: none was uploaded
	BytesVouched  int64 `json:"bytesVouched"`
	Manifests     int   `json:"manifests"`     // written by digest
	ManifestsThen int   `json:"manifestsThen"` // there already
	FallbackTags  int   `json:"fallbackTags"`  // lists of referrers written, at targets without the API; not planned
	TagsMoved     int   `json:"tagsMoved"`
	TagsUnchanged int   `json:"tagsUnchanged"`
}

// Status says how far something got.
type Status string

// The values of Status.
const (
	StatusPlanned   Status = "planned"   // not reached, or a dry run
	StatusPresent   Status = "present"   // at the target before this run
	StatusPushed    Status = "pushed"    // written by this run
	StatusUnchanged Status = "unchanged" // of tags: right before this run
	StatusMoved     Status = "moved"     // of tags: written by this run
)

// ImageRow is a root of the bundle.
type ImageRow struct {
	Source      string        `json:"source"`
	Destination string        `json:"destination"` // REGISTRY/PATH:TAG, or REGISTRY/PATH@DIGEST without a tag
	Digest      bundle.Digest `json:"digest"`
	MediaType   string        `json:"mediaType"`
	Platforms   []string      `json:"platforms,omitempty"`
	Referrers   int           `json:"referrers"` // rows of Report.Referrers
	Private     bool          `json:"private"`   // an anonymous request was refused at the source
	Status      Status        `json:"status"`    // of the image with everything that hangs from it
}

// ReferrerRow is a manifest that refers to another one of an image, by its subject or by a cosign tag.
type ReferrerRow struct {
	Image        int           `json:"image"` // row of Report.Images, from 0
	Repository   string        `json:"repository"`
	Subject      bundle.Digest `json:"subject"`
	Digest       bundle.Digest `json:"digest"`
	ArtifactType string        `json:"artifactType,omitempty"`
	CosignTag    string        `json:"cosignTag,omitempty"`
	Status       Status        `json:"status"`
}

// TagMove is a tag, and where it pointed before and points now. To undo it, Old is written back if the tag still
// points to New.
type TagMove struct {
	Repository string        `json:"repository"` // with its registry
	Tag        string        `json:"tag"`
	Old        bundle.Digest `json:"old,omitzero"` // zero: there was no such tag
	New        bundle.Digest `json:"new"`
	Cosign     bool          `json:"cosign,omitempty"` // a tag that cosign looks for, and no person
	Status     Status        `json:"status"`
}
