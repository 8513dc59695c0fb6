package config

import (
	"fmt"
	"slices"
	"strings"

	"github.com/Masterminds/semver/v3"
	"github.com/google/go-containerregistry/pkg/name"

	"airgap/bundle"
	"airgap/bundle/yaml"
)

// Chart is an entry of charts: a Helm chart in a registry, and perhaps the images that it uses.
type Chart struct {
	Position Position
	Source   string // as written
	Repo     name.Repository
	Target   string // path at the destination, without the host
	Versions string // a range in Helm's notation; "" is every release
	Latest   int    // only as many; 0 is all
	Values   []string
	Images   bool
	// ImagesTarget is a path that is put before the images' own; "" is none.
	ImagesTarget string

	versions *semver.Constraints
}

func (d *decoder) chart(v *yaml.Value) {
	c := Chart{Position: v.Position}
	var target string
	var images *bool
	d.Mapping(v, "an entry of charts", yaml.Keys{
		"source": d.Text(&c.Source), "target": d.Text(&target), "versions": d.Text(&c.Versions), "latest": d.Number(&c.Latest, 1),
		"values": d.Texts(&c.Values), "images": d.Boolean(&images), "imagesTarget": d.Text(&c.ImagesTarget),
	})
	if v.Kind != yaml.Mapping {
		return
	}
	c.Images = images != nil && *images
	if err := d.chartNames(&c, target); err != nil {
		d.Bad(v.Position, "a chart: %s", err)
		return
	}
	var err error
	if c.Versions != "" {
		if c.versions, err = semver.NewConstraint(c.Versions); err != nil {
			d.Bad(v.Field("versions").Position, "%.100q is not a range of versions, such as \">=1.2, <2\": %s", c.Versions, err)
			return
		}
	}
	if len(c.Values) > 0 && !c.Images {
		d.note(v.Position, "values does nothing here without images: true")
	}
	d.file.Charts = append(d.file.Charts, c)
}

func (d *decoder) chartNames(c *Chart, target string) (err error) {
	x := expander{env: d.env}
	for _, text := range []*string{&c.Source, &target, &c.ImagesTarget} {
		if *text, err = x.expand(*text, nil); err != nil {
			return withoutText(err)
		}
	}
	if c.Source == "" {
		return fmt.Errorf("without source")
	}
	if strings.HasPrefix(c.Source, "http://") || strings.HasPrefix(c.Source, "https://") {
		return fmt.Errorf("%.100q is a classic chart repository; airgap carries charts from OCI registries, as in registry.example.com/charts/demo", c.Source)
	}
	if c.Repo, err = parseRepository(strings.TrimPrefix(c.Source, "oci://")); err != nil {
		return err
	}
	c.Target = c.Repo.RepositoryStr()
	if target != "" {
		if c.Target, err = chartPath(target); err != nil {
			return err
		}
	}
	if c.ImagesTarget != "" {
		c.ImagesTarget, err = chartPath(c.ImagesTarget + "/")
	}
	return err
}

// chartPath returns the path of a target, without its host.
func chartPath(s string) (string, error) {
	path, _, err := splitTarget(strings.TrimPrefix(s, "oci://"))
	if path = strings.Trim(path, "/"); err == nil && path != "" {
		err = bundle.CheckPath(path)
	}
	return path, err
}

// Describe says in lines what was understood of a chart.
func (c *Chart) Describe() []string {
	lines := []string{fmt.Sprintf("chart %s -> %s", c.Source, c.Target)}
	if c.Versions != "" {
		lines = append(lines, "versions: "+c.Versions)
	}
	if c.Latest > 0 {
		lines = append(lines, fmt.Sprintf("the newest %d of these", c.Latest))
	}
	if c.Images {
		lines = append(lines, "with the images that it uses")
	}
	return lines
}

// SelectVersions returns the tags of a chart's repository that are wanted, the newest first, and those that are not.
// Helm writes the + of a version as _ in a tag (https://helm.sh/docs/topics/registries/).
func (c *Chart) SelectVersions(tags []string) (selected []string, excluded []Excluded) {
	versions := map[string]*semver.Version{}
	for _, tag := range tags {
		if isDigestTag(tag) {
			continue
		}
		v, err := semver.NewVersion(strings.ReplaceAll(tag, "_", "+"))
		switch {
		case err != nil:
			excluded = append(excluded, Excluded{tag, "not a version"})
		case c.versions != nil && !c.versions.Check(v):
			excluded = append(excluded, Excluded{tag, "versions " + c.Versions})
		case c.versions == nil && v.Prerelease() != "":
			excluded = append(excluded, Excluded{tag, "a pre-release, which versions has to ask for"})
		default:
			versions[tag] = v
			selected = append(selected, tag)
		}
	}
	slices.SortStableFunc(selected, func(a, b string) int { return versions[b].Compare(versions[a]) })
	if c.Latest > 0 && len(selected) > c.Latest {
		for _, tag := range selected[c.Latest:] {
			excluded = append(excluded, Excluded{tag, fmt.Sprintf("latest %d", c.Latest)})
		}
		selected = selected[:c.Latest]
	}
	return selected, excluded
}
