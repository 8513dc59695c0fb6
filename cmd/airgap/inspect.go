package main

import (
	"context"
	"errors"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"airgap/bundle"
	"airgap/bundle/platform"
	"airgap/bundle/tree"
	"airgap/cmd/airgap/app"
	"airgap/cmd/airgap/option"
	"airgap/cmd/airgap/terminal"
	"airgap/cmd/airgap/verdict"
	"airgap/export"
	"airgap/export/catalogue"
	"airgap/verify"
	"airgap/verify/judge"
	"airgap/verify/party"
)

// inspectFlags are the flags of inspect.
type inspectFlags struct {
	option.Registry
	trust         option.Source
	platform      string
	root          string // file
	digest        bool
	json          bool
	referrersFrom []string
}

func newInspect(a *app.App) *cobra.Command {
	var flags inspectFlags
	cmd := &cobra.Command{
		Use:   "inspect FILE|-|VOLUMES...|REF",
		Short: "Show what is in a bundle, or what hangs from an image in a registry",
		Long: `Show images as a tree: platforms, and under each manifest everything that refers to it, at any depth, with
artifact type, predicate type, size, digest and where it was found. The argument is a bundle if there is a file
of that name, else a reference; several arguments are places that have the volumes of one bundle.

Without --key the signature of a bundle is not checked, and the output says so. With --policy, the output says of each
image what the policy says of it, and of signatures and attestations whose they are.

` + option.RegistryHelp,
		Example: `  airgap inspect python.tar --key airgap.pub
  airgap inspect harbor.example.com/mirror/acme/dhi-python:3.13

  # The digest of one platform
  airgap inspect harbor.example.com/mirror/acme/dhi-python:3.13 --platform linux/amd64 --digest`,
		Args: app.AtLeast("FILE or REF"),
		RunE: func(cmd *cobra.Command, args []string) error { return runInspect(cmd.Context(), a, &flags, args) },
	}
	f := cmd.Flags()
	flags.trust.AddTrust(f)
	f.StringVar(&flags.platform, "platform", "", "`OS/ARCH[/VARIANT]`: show only this platform of each image")
	f.StringVar(&flags.root, "trusted-root", "", "`FILE` to which the trusted_root.json is written that the bundle brings; trust it only if you know it from elsewhere")
	f.BoolVar(&flags.digest, "digest", false, "print digests only")
	f.BoolVar(&flags.json, "json", false, "print the same facts as JSON")
	f.StringArrayVar(&flags.referrersFrom, "referrers-from", nil, "`SRC=ATT`: what refers to images at SRC or below is also looked for at ATT")
	flags.Add(f)
	return cmd
}

// inspection is what inspect shows, for --json.
type inspection struct {
	Bundle *bundleFacts  `json:"bundle,omitempty"`
	Images []imageFacts  `json:"images"` // empty: see images
	Totals bundle.Counts `json:"totals"`
	// Missing are images that were asked for at export and could not be had.
	Missing []bundle.Missing `json:"missing,omitempty"`

	images iter.Seq[imageFacts] // a bundle may have a million, whose trees are not held all at once
}

type bundleFacts struct {
	ManifestIndex    bundle.Digest `json:"manifestIndex"`
	Created          string        `json:"created"`
	SignatureChecked bool          `json:"signatureChecked"`
	Signers          []string      `json:"signers,omitempty"`
	seriesFacts
	StandsOn    []bundle.LeftOut `json:"standsOn,omitempty"`
	TrustedRoot bundle.Digest    `json:"trustedRoot,omitzero"` // of the file
}

type imageFacts struct {
	Source      string     `json:"source"`
	Destination string     `json:"destination,omitempty"`
	Private     bool       `json:"private"`
	Tree        *tree.Tree `json:"tree"`

	Platforms    []string      `json:"platforms,omitempty"` // those that were asked for, where not all were
	Original     bundle.Digest `json:"original,omitzero"`   // index of which this one is a part
	ReferrerPath string        `json:"referrerPath,omitempty"`
	UsedBy       []string      `json:"usedBy,omitempty"`       // charts
	LeftOutBytes int64         `json:"leftOutBytes,omitempty"` // which other bundles store; several images may need the same
	Judgement    *judge.Image  `json:"judgement,omitempty"`    // what the policy says of it
}

// runInspect takes one file or reference, or several places that have the volumes of one bundle.
func runInspect(ctx context.Context, a *app.App, flags *inspectFlags, args []string) error {
	var found *inspection
	if _, err := os.Stat(args[0]); err == nil || args[0] == "-" || len(args) > 1 {
		if found, err = inspectBundle(ctx, a, flags, args); err != nil {
			return err
		}
	} else {
		if flags.trust.IsGiven() {
			return app.Absent(err) // a signature can only be checked in a file, and here a policy only be held against one
		}
		if looksLikeFile(args[0]) {
			return app.Absent(err)
		}
		if found, err = inspectReference(ctx, a, flags, args[0]); err != nil {
			return err
		}
	}
	if flags.platform != "" {
		asked, err := platform.Parse(flags.platform)
		if err != nil {
			return app.Usagef("%w", err)
		}
		if err := found.choose(asked); err != nil {
			return err
		}
	}
	switch {
	case flags.digest:
		for image := range found.images {
			a.Print("%s", image.Tree.Digest)
		}
		return nil
	case flags.json:
		return terminal.WriteJSONWith(a.Stdout, found, "images", found.images)
	}
	found.show(a)
	return nil
}

// looksLikeFile tells names that are no references, so that no registry is asked for a file that is not there.
func looksLikeFile(arg string) bool {
	return strings.HasSuffix(arg, ".tar") || filepath.IsAbs(arg) || strings.HasPrefix(arg, ".")
}

func inspectBundle(ctx context.Context, a *app.App, flags *inspectFlags, files []string) (found *inspection, err error) {
	sealed, _, err := (&option.Source{}).OpenSealed(ctx, a, files)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, sealed.Close()) }()
	facts := &bundleFacts{ManifestIndex: sealed.ManifestIndex()}
	contents, graph, judgement, err := openToShow(ctx, a, sealed, &flags.trust, facts)
	if err != nil {
		return nil, err
	}
	if err := facts.writeTrustedRoot(flags.root, contents.TrustedRoot); err != nil {
		return nil, err
	}
	facts.Created, facts.seriesFacts, facts.StandsOn = contents.Header.Created, seriesOf(&contents.Header), contents.LeftOut()
	images := func(yield func(imageFacts) bool) {
		for i, root := range contents.Roots() {
			if !yield(imageFacts{
				Source: root.Source, Destination: root.Destination(), Private: root.Private, Tree: tree.Of(graph, i),
				Platforms: root.Platforms, Original: root.Original, ReferrerPath: root.ReferrerPath, UsedBy: root.UsedBy,
				LeftOutBytes: leftOutBytes(contents, graph, i), Judgement: judgement.Of(i),
			}) {
				return
			}
		}
	}
	return &inspection{Bundle: facts, images: images, Images: []imageFacts{}, Totals: contents.Header.Counts, Missing: contents.Missing}, nil
}

// writeTrustedRoot writes what the bundle brings, where that is asked for.
func (f *bundleFacts) writeTrustedRoot(file string, content []byte) error {
	if content != nil {
		f.TrustedRoot = bundle.DigestOf(content)
	}
	switch {
	case file == "":
		return nil
	case content == nil:
		return app.Usagef("--trusted-root: the bundle brings none")
	}
	err := writeNew(file, content, 0o644)
	if errors.Is(err, fs.ErrExist) {
		return existsAlready(file)
	}
	return err
}

// leftOutBytes adds up what an image needs and another bundle stores.
func leftOutBytes(c *bundle.Contents, g *bundle.Graph, root int) (total int64) {
	if len(c.Header.Bases) == 0 {
		return 0
	}
	seen := map[int32]bool{}
	for _, m := range c.RootManifests(root) {
		row, _ := c.Find(m.Digest)
		for _, blob := range g.Node(row).Blobs {
			if b := &c.Blobs[blob]; b.Stored == bundle.StoredBase && !seen[blob] {
				seen[blob] = true
				total += b.Size
			}
		}
	}
	return total
}

// openToShow reads the tables and manifests of a bundle, where it is said who has to have signed it only if they did.
func openToShow(ctx context.Context, a *app.App, sealed *bundle.Sealed, from *option.Source, facts *bundleFacts) (*bundle.Contents, *bundle.Graph, *judge.Judgement, error) {
	if from.IsGiven() {
		trust, err := from.Trust(a)
		if err != nil {
			return nil, nil, nil, err
		}
		trust.SkipFailing = true // they are shown
		checked, err := verify.Open(ctx, sealed, trust)
		if err != nil {
			return nil, nil, nil, err
		}
		facts.SignatureChecked, facts.Signers = true, party.Names(checked.Signers())
		return checked.Contents(), checked.Graph(), checked.Judgement(), nil
	}
	reader, err := sealed.Reader(ctx)
	if err != nil {
		return nil, nil, nil, err
	}
	graph, err := reader.Walk(ctx)
	return reader.Contents(), graph, nil, err
}

func inspectReference(ctx context.Context, a *app.App, flags *inspectFlags, ref string) (found *inspection, err error) {
	request, err := export.ParseRequest(ref)
	if err != nil {
		return nil, app.Usagef("%q is neither a file nor a reference: %w", ref, err)
	}
	attestations, err := export.ParseAttestations(flags.referrersFrom, false)
	if err != nil {
		return nil, app.Usagef("%w", err)
	}
	request.Settings.IncludeNondistributable = true // so that it is counted
	requests := export.Requests{request}
	wanted := catalogue.Wanted{Requests: requests}
	registries, err := wanted.Registries(attestations)
	if err != nil {
		return nil, err
	}
	client, err := flags.Client(ctx, a, registries)
	if err != nil {
		return nil, err
	}
	var plan *export.Plan
	err = a.WithProgress(func(o bundle.Observer) (err error) {
		plan, err = export.MakePlan(ctx, client, requests, export.Options{
			Walk: export.WalkOptions{Attestations: attestations, AllowNoReferrers: true}, Now: a.Now, Observer: o,
		})
		return err
	})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, plan.Close()) }()
	if err := plan.Err(); err != nil {
		return nil, err
	}
	image := imageFacts{Source: request.Source, Private: plan.Contents.Root(0).Private, Tree: tree.Of(plan.Graph, 0)}
	return &inspection{images: slices.Values([]imageFacts{image}), Images: []imageFacts{}, Totals: plan.Contents.Header.Counts}, nil
}

// choose keeps of each image only what belongs to one platform.
func (i *inspection) choose(asked platform.Matcher) error {
	images := i.images
	i.images = func(yield func(imageFacts) bool) {
		for image := range images {
			if image.Tree = image.Tree.FindPlatform(asked); image.Tree != nil && !yield(image) {
				return
			}
		}
	}
	for range i.images {
		return nil
	}
	return app.Usagef("no image here has the platform %s", asked)
}

func (i *inspection) show(a *app.App) {
	if b := i.Bundle; b != nil {
		a.Print("bundle %s, made %s", b.ManifestIndex, b.Created)
		if b.SignatureChecked {
			a.Print("signed by %s", strings.Join(b.Signers, ", "))
		} else {
			a.Print("THE SIGNATURE WAS NOT CHECKED: give the public key with --key")
		}
		for _, line := range b.lines() {
			a.Print("%s", line)
		}
		if !b.TrustedRoot.IsZero() {
			a.Print("brings a trusted root of Sigstore, %s, which nobody believes for that (--trusted-root FILE writes it down)", b.TrustedRoot)
		}
		if len(b.StandsOn) > 0 {
			a.Print("stands on %s, left out on purpose", leftTo(b.StandsOn))
		}
	}
	for image := range i.images {
		a.Print("")
		a.Print("%s", image.heading())
		if image.Judgement != nil {
			a.Print("policy: %s", verdict.Words(image.Judgement))
			for _, reason := range image.Judgement.Reasons {
				a.Print("  %s", reason)
			}
		}
		showTree(a, image.Tree, verdict.ByCarrier(image.Judgement), "", "")
	}
	for _, m := range i.Missing {
		a.Print("")
		a.Print("missing: %s: %s", m.Source, m.Reason)
	}
	a.Print("")
	a.Print("%s, %s, %s", terminal.Count(i.Totals.Roots, "image"), terminal.Count(i.Totals.Blobs, "blob"), terminal.Bytes(i.Totals.StoredBytes))
}

func (f *imageFacts) heading() string {
	heading := f.Source
	if f.Destination != "" {
		heading += " -> " + f.Destination
	}
	if f.Private {
		heading += " (private)"
	}
	if len(f.Platforms) > 0 {
		heading += " (only " + strings.Join(f.Platforms, ", ")
		if !f.Original.IsZero() {
			heading += " of " + f.Original.String()
		}
		heading += ")"
	}
	if f.LeftOutBytes > 0 {
		heading += ", " + terminal.Bytes(f.LeftOutBytes) + " left out"
	}
	if f.ReferrerPath != "" {
		heading += ", referrers to " + f.ReferrerPath
	}
	return heading
}

// showTree prints a manifest on a line, with whose proofs it carries, and what hangs from it below, indented. first begins the line itself, rest the
// lines under it.
func showTree(a *app.App, t *tree.Tree, proofs map[bundle.Digest]string, first, rest string) {
	a.Print("%s%s%s", first, treeLine(t), proofs[t.Digest])
	branches := append(append([]*tree.Tree{}, t.Children...), t.Referrers...)
	for i, branch := range branches {
		if i < len(branches)-1 {
			showTree(a, branch, proofs, rest+"├─ ", rest+"│  ")
		} else {
			showTree(a, branch, proofs, rest+"└─ ", rest+"   ")
		}
	}
	if t.Omitted > 0 {
		a.Print("%sand %d more", rest, t.Omitted)
	}
}

func treeLine(t *tree.Tree) string {
	var what []string
	switch {
	case t.Via == bundle.ViaCosignTag:
		what = append(what, "cosign"+t.Tag[strings.LastIndexByte(t.Tag, '.'):])
	case t.Platform != "":
		what = append(what, t.Platform)
	case t.IsIndex():
		what = append(what, "index")
	case t.ArtifactType == "":
		what = append(what, "image")
	}
	if t.ArtifactType != "" {
		what = append(what, t.ArtifactType)
	}
	what = append(what, t.PredicateTypes...)
	what = append(what, terminal.Bytes(t.Size), t.Digest.String())
	if t.Via.IsReferrer() || t.Via == bundle.ViaCosignTag {
		what = append(what, "from "+t.From)
	}
	if t.Repeated {
		what = append(what, "(its branches are shown elsewhere)")
	}
	return strings.Join(what, "  ")
}
