package importer

import (
	"slices"
	"time"

	"airgap/bundle"
	"airgap/import/finding"
	"airgap/import/placing"
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

	// Findings of the preflight: what blocks comes first.
	Findings []finding.Finding `json:"findings"`
	// Projects of Harbor that were not there.
	Projects []ProjectRow `json:"projects,omitempty"`
	// Unchecked are tags that were written and could not be read back, since a pull policy hides what they lead to.
	Unchecked []string `json:"unchecked,omitempty"`

	// Notes are what Harbor shows otherwise than it was sent, each in a sentence, and what of that could not be checked.
	Notes []string `json:"notes,omitempty"`

	Planned Work `json:"planned"` // what there was to do, as far as the target let it be seen; zero: that was not asked
	Done    Work `json:"done"`    // what was done

	// Missing are images that were asked for at export, could not be had, and so are not in the bundle.
	Missing []bundle.Missing `json:"missing,omitempty"`
	// Excluded are the sources of images that Options.Only left out.
	Excluded []string `json:"excluded,omitempty"`
	// Nondistributable are layers that the bundle names and does not hold: whoever runs these images needs them from
	// elsewhere.
	Nondistributable []bundle.Digest `json:"nondistributable,omitempty"`
}

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

// Status says how far something got.
type Status string

// The values of Status.
const (
	StatusPlanned   Status = "planned"   // not reached, or a dry run
	StatusPresent   Status = "present"   // at the target before this run
	StatusPushed    Status = "pushed"    // written by this run
	StatusUnchanged Status = "unchanged" // of tags: right before this run
	StatusMoved     Status = "moved"     // of tags: written by this run
	StatusInDoubt   Status = "in doubt"  // of tags and projects: perhaps written by this run, to which nobody answered
	StatusCreated   Status = "created"   // of projects: by this run
)

// ImageRow is a root of the bundle.
type ImageRow struct {
	Source      string        `json:"source"`
	Destination string        `json:"destination"` // REGISTRY/PATH:TAG, or REGISTRY/PATH@DIGEST without a tag
	Digest      bundle.Digest `json:"digest"`
	MediaType   string        `json:"mediaType"`
	Platforms   []string      `json:"platforms,omitempty"`
	Selected    []string      `json:"selected,omitempty"` // platforms that were asked for at export, where not all were
	Original    bundle.Digest `json:"original,omitzero"`  // of the source's index, where this one is a part of it
	Referrers   int           `json:"referrers"`          // rows of Report.Referrers
	UsedBy      []string      `json:"usedBy,omitempty"`   // sources of the charts that use it
	Private     bool          `json:"private"`            // an anonymous request was refused at the source
	Status      Status        `json:"status"`             // of the image with everything that hangs from it
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
	Old        bundle.Digest `json:"old,omitzero"`         // zero: there was no such tag
	OldUnknown bool          `json:"oldUnknown,omitempty"` // there was such a tag, and a pull policy hid what it led to
	New        bundle.Digest `json:"new"`
	Cosign     bool          `json:"cosign,omitempty"` // a tag that cosign looks for, and no person
	Status     Status        `json:"status"`
}

// report says how far the import has got. It must not be called while work is under way.
func (r *run) report(succeeded bool) *Report {
	p := r.plan
	report := &Report{
		Bundle: p.bundle.ManifestIndex(), Target: r.options.Destination.String(), DryRun: r.options.DryRun,
		Complete: succeeded && !r.options.DryRun,
		Planned:  r.planned, Done: p.done(int(r.fallbackTags.Load())),
		Missing: p.contents.Missing, Excluded: p.Excluded, Nondistributable: p.nondistributable(),
		Unchecked: r.unchecked, Notes: r.notes,
		Images: []ImageRow{}, Referrers: []ReferrerRow{}, Tags: []TagMove{},
		Findings: []finding.Finding{}, Projects: r.created,
	}
	if r.checks != nil {
		report.Findings = append(report.Findings, r.checks.findings.All()...)
	}
	d := report.Done
	report.Changed = d.BlobsPushed+d.BlobsMounted+d.ManifestsPushed+d.TagsMoved+d.FallbackTags > 0 ||
		slices.ContainsFunc(r.created, func(row ProjectRow) bool { return row.Status == StatusCreated })
	for _, image := range p.Images {
		report.addImage(p, image)
	}
	for i := range p.tags {
		t := &p.tags[i]
		report.Tags = append(report.Tags, TagMove{
			Repository: p.Repos[t.repo].Name(), Tag: t.tag, Old: t.old, OldUnknown: t.unseen, New: p.digest(t.row), Cosign: t.cosign, Status: t.status(),
		})
	}
	return report
}

func (r *Report) addImage(p *plan, image placing.Image) {
	root := p.contents.Root(image.Root)
	name := p.Repos[image.Repo]
	row := ImageRow{
		Source: root.Source, Destination: name.Digest(root.Digest.String()).Name(), Digest: root.Digest,
		Original: root.Original, Selected: root.Platforms, UsedBy: root.UsedBy,
		MediaType: root.MediaType, Private: root.Private, Status: StatusPresent,
	}
	if image.Tag != "" {
		row.Destination = name.Tag(image.Tag).Name()
	}
	node := p.graph.Node(int(p.row(root.Digest)))
	for i := range node.Children {
		if platform := node.Platform(i); platform != nil && platform.String() != unknownPlatform {
			row.Platforms = append(row.Platforms, platform.String())
		}
	}
	for _, m := range p.members(image) {
		repo := &p.repositories[m.repo]
		at, _ := repo.find(m.row)
		status := repo.states[at].status()
		row.Status = worse(row.Status, status)
		if m.Subject.IsZero() {
			continue
		}
		row.Referrers++
		r.Referrers = append(r.Referrers, ReferrerRow{
			Image: len(r.Images), Repository: repo.name.Name(), Subject: m.Subject, Digest: m.Digest,
			ArtifactType: m.ArtifactType, CosignTag: m.Tag, Status: status,
		})
	}
	r.Images = append(r.Images, row)
}

// unknownPlatform is what BuildKit gives the attestation manifests in an index.
const unknownPlatform = "unknown/unknown"

func (s state) status() Status {
	switch s {
	case lacking:
		return StatusPlanned
	case present:
		return StatusPresent
	}
	return StatusPushed
}

// worse returns the status that is further from everything having been there.
func worse(a, b Status) Status {
	for _, s := range []Status{StatusPlanned, StatusPushed} {
		if a == s || b == s {
			return s
		}
	}
	return a
}

func (t *tagMove) status() Status {
	switch {
	case t.moved:
		return StatusMoved
	case t.inDoubt:
		return StatusInDoubt
	case t.isThere:
		return StatusUnchanged
	}
	return StatusPlanned
}

// work counts what there is to do, from what was found at the target.
func (p *plan) work() Work {
	w := p.done(0)
	for blob := range p.blobs() {
		size := p.contents.Blobs[blob.row].Size
		_, somewhere := p.mountable(blob)
		for _, s := range blob.states {
			switch {
			case s.isThere():
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
	for i := range p.repositories {
		for _, s := range p.repositories[i].states {
			if s == lacking {
				w.ManifestsPushed++
			}
		}
	}
	for i := range p.tags {
		if !p.tags[i].isThere {
			w.TagsMoved++
		}
	}
	return w
}

// done counts what was done and what was there.
func (p *plan) done(fallbackTags int) Work {
	w := Work{FallbackTags: fallbackTags}
	for blob := range p.blobs() {
		w.addBlob(blob, p.contents.Blobs[blob.row].Size)
	}
	for i := range p.repositories {
		for _, s := range p.repositories[i].states {
			switch s {
			case present:
				w.ManifestsPresent++
			case pushed, acknowledged:
				w.ManifestsPushed++
			}
		}
	}
	for i := range p.tags {
		switch p.tags[i].status() {
		case StatusMoved:
			w.TagsMoved++
		case StatusUnchanged:
			w.TagsUnchanged++
		}
	}
	return w
}

func (w *Work) addBlob(blob blobUses, size int64) {
	for _, s := range blob.states {
		switch s {
		case present:
			w.BlobsPresent++
			w.BytesPresent += size
		case mounted:
			w.BlobsMounted++
			w.BytesMounted += size
		case pushed:
			w.BlobsPushed++
			w.BytesPushed += size
		}
	}
	if blob.holder() >= 0 && !slices.Contains(blob.states, pushed) {
		w.BlobsVouched++
		w.BytesVouched += size
	}
}
