// Package report is what an import did: New makes a Report, Read reads one again, for package rollback.
package report

import (
	"time"

	"airgap/bundle"
	"airgap/bundle/ledger"
	"airgap/import/finding"
	"airgap/import/inventory"
	"airgap/import/placing"
	"airgap/import/projects"
)

// Report is what an import did, or in a dry run would do, as far as it got. The rows are in the order of the
// bundle's tables, tags by repository and name.
type Report struct {
	Bundle   bundle.Digest `json:"bundle"` // the manifest index
	Mirror   string        `json:"mirror,omitempty"`
	Sequence uint64        `json:"sequence,omitempty"` // of the mirror's bundles; 0: a supplement
	Identity bundle.Digest `json:"identity,omitzero"`  // by which the bundle is known among those of its mirror and sequence
	Target   string        `json:"target"`             // REGISTRY[/PREFIX]
	// Record is the repository in which the import is recorded; "" for none.
	Record       string    `json:"record,omitempty"`
	AllowedOlder bool      `json:"allowedOlder,omitempty"` // the record spoke against the bundle
	Started      time.Time `json:"started"`
	Seconds      float64   `json:"seconds"`
	DryRun       bool      `json:"dryRun"`
	Complete     bool      `json:"complete"` // everything is at the target, and was read back
	Changed      bool      `json:"changed"`  // something was written

	Images    []ImageRow    `json:"images"`
	Referrers []ReferrerRow `json:"referrers"`
	Tags      []TagMove     `json:"tags"`

	// Findings of the preflight: what blocks comes first.
	Findings []finding.Finding `json:"findings"`
	// Projects of Harbor that were not there.
	Projects []projects.Row `json:"projects,omitempty"`
	// Unchecked are tags that were written and could not be read back, since a pull policy hides what they lead to.
	Unchecked []string `json:"unchecked,omitempty"`

	// Notes are what Harbor shows otherwise than it was sent, each in a sentence, and what of that could not be checked.
	Notes []string `json:"notes,omitempty"`

	Planned Work `json:"planned"` // what there was to do, as far as the target let it be seen; zero: that was not asked
	Done    Work `json:"done"`    // what was done

	// Want is what the bundle leaves out and is nowhere at the target: then nothing was written.
	Want *ledger.Want `json:"want,omitempty"`
	// Missing are images that were asked for at export, could not be had, and so are not in the bundle.
	Missing []bundle.Missing `json:"missing,omitempty"`
	// Excluded are the sources of images that the rules left out.
	Excluded []string `json:"excluded,omitempty"`
	// Failing are the images that were left out because they do not meet the policy.
	Failing []FailingRow `json:"failing,omitempty"`
	// Nondistributable are layers that the bundle names and does not hold: whoever runs these images needs them from
	// elsewhere.
	Nondistributable []bundle.Digest `json:"nondistributable,omitempty"`
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
	StatusInDoubt   Status = "in doubt"  // of tags: perhaps written by this run, to which nobody answered
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

// FailingRow is a root of the bundle that does not meet the policy, and why.
type FailingRow struct {
	Source  string        `json:"source"`
	Digest  bundle.Digest `json:"digest"`
	Rule    string        `json:"rule,omitempty"`
	Reasons []string      `json:"reasons"`
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

// New says how far an import has got, by what inv says of the target. It must not be called while work is under way. What only
// the stages know is for the caller to fill in.
func New(inv *inventory.Inventory) *Report {
	report := &Report{
		Bundle: inv.Bundle.ManifestIndex(), Mirror: inv.Contents.Header.Mirror, Sequence: inv.Contents.Header.Sequence, Done: Done(inv),
		Missing: inv.Contents.Missing, Excluded: inv.Excluded, Nondistributable: nondistributable(inv),
		Images: []ImageRow{}, Referrers: []ReferrerRow{}, Tags: []TagMove{}, Findings: []finding.Finding{},
	}
	if report.Mirror != "" {
		report.Identity = inv.Contents.Header.Identity(report.Bundle)
	}
	for _, image := range inv.Images {
		report.addImage(inv, image)
	}
	for _, root := range inv.Failing {
		image := &inv.Bundle.Judgement().Images[root]
		report.Failing = append(report.Failing, FailingRow{image.Source, image.Digest, image.Rule, image.Reasons})
	}
	for i := range inv.Tags {
		t := &inv.Tags[i]
		report.Tags = append(report.Tags, TagMove{
			Repository: inv.Repos[t.Repo].Name(), Tag: t.Name, Old: t.Old(), OldUnknown: t.IsHidden(), New: inv.Digest(t.Row), Cosign: t.Cosign, Status: tagStatus(t),
		})
	}
	return report
}

func (r *Report) addImage(inv *inventory.Inventory, image placing.Image) {
	root := inv.Contents.Root(image.Root)
	name := inv.Repos[image.Repo]
	row := ImageRow{
		Source: root.Source, Destination: name.Digest(root.Digest.String()).Name(), Digest: root.Digest,
		Original: root.Original, Selected: root.Platforms, UsedBy: root.UsedBy,
		MediaType: root.MediaType, Private: root.Private, Status: StatusPresent,
	}
	if image.Tag != "" {
		row.Destination = name.Tag(image.Tag).Name()
	}
	node := inv.Graph.Node(int(inv.Row(root.Digest)))
	for i := range node.Children {
		if platform := node.Platform(i); platform != nil && platform.String() != unknownPlatform {
			row.Platforms = append(row.Platforms, platform.String())
		}
	}
	for _, m := range inv.Members(image) {
		status := contentStatus(inv.State(inventory.Need{Row: m.Row, Repo: m.Repo}))
		row.Status = worse(row.Status, status)
		if m.Subject.IsZero() {
			continue
		}
		row.Referrers++
		r.Referrers = append(r.Referrers, ReferrerRow{
			Image: len(r.Images), Repository: inv.Repos[m.Repo].Name(), Subject: m.Subject, Digest: m.Digest,
			ArtifactType: m.ArtifactType, CosignTag: m.Tag, Status: status,
		})
	}
	r.Images = append(r.Images, row)
}

// nondistributable returns what the images name and the bundle does not hold.
func nondistributable(inv *inventory.Inventory) []bundle.Digest {
	wanted := make([]bool, len(inv.Contents.Blobs))
	for manifest := range inv.Manifests() {
		for _, row := range inv.Graph.Node(int(manifest.Row)).Blobs {
			wanted[row] = true
		}
	}
	var left []bundle.Digest
	for row, b := range inv.Contents.Blobs {
		if wanted[row] && b.Stored == bundle.StoredNondistributable {
			left = append(left, b.Digest)
		}
	}
	return left
}

// unknownPlatform is what BuildKit gives the attestation manifests in an index.
const unknownPlatform = "unknown/unknown"

func contentStatus(s inventory.State) Status {
	switch s {
	case inventory.Lacking:
		return StatusPlanned
	case inventory.Present:
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

func tagStatus(t *inventory.Tag) Status {
	switch {
	case t.IsMoved():
		return StatusMoved
	case t.IsInDoubt():
		return StatusInDoubt
	case t.IsRight():
		return StatusUnchanged
	}
	return StatusPlanned
}
