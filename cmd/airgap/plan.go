package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/spf13/cobra"

	"airgap/bundle"
	"airgap/cmd/airgap/app"
	"airgap/cmd/airgap/option"
	"airgap/cmd/airgap/terminal"
	"airgap/cmd/airgap/verdict"
	"airgap/export"
	"airgap/export/mirror"
	"airgap/export/registry"
)

func newPlan(a *app.App) *cobra.Command {
	var flags option.Selection
	cmd := &cobra.Command{
		Use:   "plan [REF[=PATH[:TAG]]...] [-c FILE]",
		Short: "Show what an export would carry, fetching nothing but manifests",
		Long: `Resolve everything that an export with the same arguments would carry, and show for each image its digest,
platforms, what refers to it by kind, and its size: new is what no image before it needs as well. Then what was
left out and by which rule, what could not be had, and what it costs in pulls where a registry limits those.

Manifests are kept in a small cache, so that the export, or tomorrow's plan, fetches only what has changed. The
exit code is not 0 if anything that was asked for could not be had.

Of a mirror it shows what is left out, and which of the last 20 bundles would make the next one smallest to build on.
With --ledger-key, their signatures are checked.

With --policy, the proofs of all images are fetched and judged, as "airgap export" does before it fetches anything
else (exit code 15).

` + option.RegistryHelp,
		Example: `  airgap plan -c regsync.yaml
  airgap plan docker.io/acme/dhi-python:3.13 --platform linux/amd64
  airgap plan -c regsync.yaml --mirror dhi --ledger-key airgap.pub
  airgap plan -c regsync.yaml --policy trust.yaml
  airgap plan -c regsync.yaml --json | jq '.images[] | {source, newBytes}'`,
		RunE: func(cmd *cobra.Command, args []string) error {
			return runPlan(cmd.Context(), a, &flags, &option.Signing{}, args)
		},
	}
	flags.Add(cmd.Flags())
	return cmd
}

// planReport is the output of plan --json.
type planReport struct {
	*export.Result

	Pulls     []pullCost     `json:"pulls"`
	FullBytes int64          `json:"fullBytes,omitempty"` // of content, of a mirror, if nothing were left out
	Deltas    []mirror.Delta `json:"deltas,omitempty"`    // how much it would be on each of the newest bundles alone, the newest first
}

// pullCost is what a plan cost at a registry, and what an export would, in fetched manifests: where registries limit
// pulls, that is what they count.
type pullCost struct {
	Registry  string `json:"registry"`
	Fetched   int    `json:"fetched"`             // by this plan
	Export    int    `json:"export"`              // by an export now
	Remaining *int   `json:"remaining,omitempty"` // before the limit, where the registry says so
	Limit     int    `json:"limit,omitempty"`
	Window    string `json:"window,omitempty"`
}

// runPlan shows what an export would carry. signing says who would sign it, where that is known.
func runPlan(ctx context.Context, a *app.App, flags *option.Selection, signing *option.Signing, args []string) (err error) {
	asked, err := flags.Read(ctx, a, args)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, asked.Close()) }()
	if asked.Options.Mirror != nil && signing.IsGiven() {
		key, err := signing.Load(ctx, a)
		if err != nil {
			return err
		}
		asked.Trust(key.Public())
	}
	if m := asked.Options.Mirror; m != nil && !asked.TrustsSomebody() {
		m.Unchecked = true
		a.Say("the signatures in the ledger %s are not checked (--ledger-key checks them)", m.Ledger)
	}
	var plan *export.Plan
	err = a.WithProgress(func(o bundle.Observer) (err error) {
		asked.Options.Observer = o
		plan, err = export.MakePlan(ctx, asked.Source, asked.Choice, asked.Options)
		return err
	})
	asked.Prune(a)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, plan.Close()) }()
	result, err := plan.Result()
	if err != nil {
		return err
	}
	report := planReport{Result: result, Pulls: pulls(asked, plan)}
	if report.Deltas, err = plan.Deltas(ctx); err != nil {
		return err
	}
	if result.Sequence > 0 {
		report.FullBytes = plan.Contents.StoredBytesOver(nil)
	}
	if flags.JSON {
		if err := a.PrintJSON(report); err != nil {
			return err
		}
	} else {
		showPlan(a, &report)
	}
	if err := plan.Err(); err != nil {
		return err
	}
	return missingImages(result)
}

// pulls returns what the plan cost.
func pulls(c *option.Asked, plan *export.Plan) []pullCost {
	costs := []pullCost{}
	hosts := slices.Concat(c.Registries, plan.Registries())
	slices.Sort(hosts)
	for _, host := range slices.Compact(hosts) {
		r, err := name.NewRegistry(host)
		if err != nil {
			continue
		}
		cost := pullCost{Registry: registry.DisplayName(host), Fetched: c.Client.Pulls(r)}
		if c.Cache == nil {
			cost.Export = cost.Fetched
		}
		limit, known := c.Client.RateLimit(r)
		if known {
			cost.Remaining, cost.Limit = &limit.Remaining, limit.Limit
			if limit.Window > 0 {
				cost.Window = limit.Window.String()
			}
		}
		if known || cost.Fetched > 0 {
			costs = append(costs, cost)
		}
	}
	return costs
}

func showPlan(a *app.App, r *planReport) {
	for i := range r.Images {
		showPlannedImage(a, &r.Images[i])
	}
	verdict.Show(a.Print, r.Judgement)
	showFound(a.Print, r.Result)
	showExcluded(a, r.Excluded)
	for _, m := range r.Missing {
		a.Print("missing: %s: %s", m.Source, m.Reason)
	}
	for _, cost := range r.Pulls {
		a.Print("pulls: %s", cost.String())
	}
	shared := int64(0)
	for _, image := range r.Images {
		shared += image.SharedBytes
	}
	a.Print("total: %s, %s, %s to carry; sharing saves %s", terminal.Count(r.Counts.Roots, "image"), terminal.Count(r.Counts.Stored, "blob"),
		terminal.Bytes(r.Counts.StoredBytes), terminal.Bytes(shared))
	showDeltas(a, r)
}

// showDeltas prints what a bundle of a mirror leaves out, and on which other one it would be smaller.
func showDeltas(a *app.App, r *planReport) {
	if r.Sequence == 0 {
		return
	}
	base := "builds on no other"
	if len(r.Bases) > 0 {
		base = "stands on " + standsOn(r.Bases)
	}
	a.Print("mirror: %s@%d %s: %s left out of %s", r.Mirror, r.Sequence, base, terminal.Bytes(r.Counts.BasedBytes), terminal.Bytes(r.FullBytes))
	if len(r.Deltas) == 0 {
		return
	}
	smallest := slices.MinFunc(r.Deltas, func(a, b mirror.Delta) int { return cmp.Compare(a.Bytes, b.Bytes) })
	if smallest.Bytes < r.Counts.StoredBytes {
		a.Print("mirror: smallest on %s, of the last %s: %s to carry (--since %s)", smallest.Name(), terminal.Count(len(r.Deltas), "bundle"), terminal.Bytes(smallest.Bytes), smallest.Name())
		return
	}
	a.Print("mirror: on none of the last %s it would be smaller", terminal.Count(len(r.Deltas), "bundle"))
}

func showPlannedImage(a *app.App, image *export.ImageResult) {
	a.Print("%s -> %s", image.Source, image.Destination)
	platforms := ""
	if len(image.Platforms) > 0 {
		platforms = "  " + strings.Join(image.Platforms, ", ")
	}
	a.Print("  %s%s", image.Digest, platforms)
	switch {
	case !image.Original.IsZero():
		a.Print("  made of these platforms of the index %s, whose signatures do not apply to it", image.Original)
	case image.Sparse:
		a.Print("  the index also lists manifests that stay behind: only some targets take it")
	}
	based := ""
	if image.BasedBytes > 0 {
		based = fmt.Sprintf(", %s left out", terminal.Bytes(image.BasedBytes))
	}
	a.Print("  %s, %s new, %s shared%s", terminal.Count(image.Manifests, "manifest"), terminal.Bytes(image.NewBytes), terminal.Bytes(image.SharedBytes), based)
	for _, kind := range slices.Sorted(maps.Keys(image.ByType)) {
		label := kind
		if label == "" {
			label = "unknown kind"
		}
		a.Print("  %s: %s", terminal.Count(image.ByType[kind], "referrer"), label)
	}
	showLeftOutReferrers(a.Print, image)
}

// showLeftOut prints what an export left behind by the user's own settings.
func showLeftOut(a *app.App, r *export.Result) {
	for i := range r.Images {
		if len(r.Images[i].LeftOut) > 0 {
			a.Say("%s:", r.Images[i].Source)
			showLeftOutReferrers(a.Say, &r.Images[i])
		}
	}
	if len(r.Excluded) > 0 {
		showExcludedCounts(a, r.Excluded)
	}
}

// showExcludedCounts prints how much the rules of the configuration leave out, and by name what only waits.
func showExcludedCounts(a *app.App, all []export.Excluded) {
	repositories, images, waiting := 0, 0, 0
	for _, x := range all {
		switch {
		case x.Repository:
			repositories++
		case x.Waiting:
			waiting++
			a.Say("waiting: %s: %s", x.Source, x.Rule)
		default:
			images++
		}
	}
	var parts []string
	if repositories > 0 {
		parts = append(parts, terminal.Count(repositories, "repository"))
	}
	if images+waiting > 0 {
		parts = append(parts, terminal.Count(images+waiting, "image"))
	}
	text := strings.Join(parts, " and ") + " left out by the rules of the configuration"
	if waiting > 0 {
		text += fmt.Sprintf(", %d of them as too young", waiting)
	}
	a.Say("%s; \"airgap plan\" lists them", text)
}

func showLeftOutReferrers(say func(string, ...any), image *export.ImageResult) {
	for _, left := range image.LeftOut {
		say("  left out (%s): %s %s from %s", left.Rule, left.ArtifactType, left.Digest, left.From)
	}
}

// showFound prints the images that charts and manifests use, and what there cannot be read as an image.
func showFound(say func(string, ...any), r *export.Result) {
	for _, f := range r.Found {
		more := ""
		if f.More > 0 {
			more = fmt.Sprintf(" and %d more", f.More)
		}
		say("found: %s in %s%s%s", f.Ref, ofChart(f.Chart), f.Where, more)
	}
	for _, u := range r.Unparsed {
		say("not an image: %q in %s%s: %s", u.Ref, ofChart(u.Chart), u.Where, u.Reason)
	}
}

func ofChart(source string) string {
	if source == "" {
		return ""
	}
	return source + ", "
}

// maxExcludedShown bounds how many names are shown for a rule; --json has all.
const maxExcludedShown = 5

// showExcluded prints by rule what is left out.
func showExcluded(a *app.App, all []export.Excluded) {
	byRule := map[string][]string{}
	for _, x := range all {
		if x.Waiting {
			a.Print("waiting: %s: %s", x.Source, x.Rule)
			continue
		}
		rule := x.Rule
		if x.Entry != "" {
			rule += " (" + x.Entry + ")"
		}
		byRule[rule] = append(byRule[rule], x.Source)
	}
	for _, rule := range slices.Sorted(maps.Keys(byRule)) {
		names := byRule[rule]
		text := strings.Join(names[:min(len(names), maxExcludedShown)], ", ")
		if more := len(names) - maxExcludedShown; more > 0 {
			text += fmt.Sprintf(" and %d more", more)
		}
		a.Print("excluded by %s: %s", rule, text)
	}
}

// String describes the cost for a person.
func (c *pullCost) String() string {
	text := fmt.Sprintf("%s: %s fetched now, an export would fetch %d", c.Registry, terminal.Count(c.Fetched, "manifest"), c.Export)
	if c.Remaining == nil {
		return text
	}
	text += fmt.Sprintf("; %d left", *c.Remaining)
	if c.Limit > 0 {
		text += fmt.Sprintf(" of %d", c.Limit)
	}
	if c.Window != "" {
		text += " in " + c.Window
	}
	return text
}

// errMissing: the bundle was written, without images that could not be had.
var errMissing = errors.New("images are missing from the bundle")

// missingImages is the error of an export that kept going.
func missingImages(r *export.Result) error {
	if len(r.Missing) == 0 {
		return nil
	}
	lines := []error{fmt.Errorf("%w, as --keep-going allows", errMissing)}
	for _, m := range r.Missing {
		lines = append(lines, fmt.Errorf("  %s: %s", m.Source, m.Reason))
	}
	return errors.Join(lines...)
}
