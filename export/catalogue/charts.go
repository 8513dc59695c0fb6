package catalogue

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"

	"airgap/bundle"
	"airgap/export"
	"airgap/export/chart"
	"airgap/export/config"
	"airgap/export/registry"
)

// Renderer renders a chart and finds the images in the result. chart.Helm is the real one.
type Renderer interface {
	Render(ctx context.Context, archive, label string, values []string) (chart.Found, error)
}

var _ Renderer = chart.Helm{}

// maxChart bounds a chart that is rendered, in bytes: Helm itself takes no larger ones.
const maxChart = 100 << 20

// errNoChart: something that is to be a chart is none.
var errNoChart = errors.New("this is no Helm chart")

// selectCharts chooses versions of charts and, where that is asked for, the images that they use. What fails for one chart is
// among the failures.
func (c *Choice) selectCharts(ctx context.Context, charts []config.Chart, o bundle.Observer) (*export.Selection, error) {
	s := chartImages{choice: c}
	o.Count("charts", "chart", int64(len(charts)))
	for i := range charts {
		one := &charts[i]
		o.Item(one.Source)
		err := s.choose(ctx, one)
		o.Add(1)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if err != nil {
			s.Failures = append(s.Failures, export.Failure{Source: registry.DisplayName(one.Repo.Name()), Path: one.Target, Err: err})
		}
	}
	return &s.Selection, nil
}

// annotated returns the images that the annotations of charts among the requests name. What is no chart is passed over.
func (c *Choice) annotated(ctx context.Context, requests []export.Request) (*export.Selection, error) {
	s := chartImages{choice: c}
	for _, r := range requests {
		found, err := s.images(ctx, r.Ref, &config.Chart{}, false)
		switch {
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case errors.Is(err, errNoChart):
		case err != nil:
			s.Failures = append(s.Failures, export.Failure{Source: r.Source, Path: r.Path, Tag: r.Tag, Err: err})
		default:
			s.add(found, r.Source, r.Entry, "")
		}
	}
	return &s.Selection, nil
}

// rendered returns the images that rendered manifests name.
func (c *Choice) rendered(found chart.Found) *export.Selection {
	s := chartImages{choice: c}
	s.add(found, "", "", "")
	return &s.Selection
}

// chartImages gathers charts and the images that they use.
type chartImages struct {
	export.Selection

	choice *Choice
}

func (s *chartImages) choose(ctx context.Context, c *config.Chart) error {
	tags, err := s.choice.Lister.Tags(ctx, c.Repo)
	if err != nil {
		return err
	}
	selected, excluded := c.SelectVersions(tags)
	entry := c.Position.String()
	for _, x := range excluded {
		s.Excluded = append(s.Excluded, export.Excluded{Source: registry.DisplayName(c.Repo.Name()) + ":" + x.Tag, Rule: x.Rule, Entry: entry})
	}
	if len(selected) == 0 {
		s.Warnings = append(s.Warnings, fmt.Sprintf("%s: none of the %d tags of %s is selected", entry, len(tags), registry.DisplayName(c.Repo.Name())))
	}
	for _, tag := range selected {
		source := registry.DisplayName(c.Repo.Name()) + ":" + tag
		s.Requests = append(s.Requests, export.Request{Ref: c.Repo.Tag(tag), Source: source, Path: c.Target, Tag: tag, Entry: entry})
		if !c.Images {
			continue
		}
		found, err := s.images(ctx, c.Repo.Tag(tag), c, true)
		if err != nil {
			return fmt.Errorf("the images of %s: %w", tag, err)
		}
		s.add(found, source, entry, c.ImagesTarget)
	}
	return nil
}

// images finds the images of one chart: those of its annotation and, with render, those of its manifests.
func (s *chartImages) images(ctx context.Context, ref name.Reference, c *config.Chart, render bool) (chart.Found, error) {
	desc, content, err := s.choice.Source.Manifest(ctx, ref)
	if err != nil {
		return chart.Found{}, err
	}
	m, err := bundle.ParseManifest(desc.MediaType, content)
	if err != nil {
		return chart.Found{}, err
	}
	if m.Config == nil || m.Config.MediaType != chart.ConfigMediaType {
		return chart.Found{}, errNoChart
	}
	text, err := s.read(ctx, ref.Context(), *m.Config, chart.MaxConfig)
	if err != nil {
		return chart.Found{}, err
	}
	metadata, err := chart.ParseConfig(text)
	if err != nil {
		return chart.Found{}, err
	}
	found := metadata.Images()
	at := slices.IndexFunc(m.Layers, func(d bundle.Descriptor) bool { return d.MediaType == chart.ContentMediaType })
	if !render || at < 0 {
		return found, nil
	}
	rendered, err := s.render(ctx, ref.Context(), m.Layers[at], metadata, c.Values)
	if err != nil {
		return chart.Found{}, err
	}
	found.Merge(rendered)
	return found, nil
}

func (s *chartImages) render(ctx context.Context, repo name.Repository, layer bundle.Descriptor, m *chart.Metadata, values []string) (found chart.Found, err error) {
	archive, err := s.read(ctx, repo, layer, maxChart)
	if err != nil {
		return found, err
	}
	dir, err := os.MkdirTemp("", "airgap-chart-*")
	if err != nil {
		return found, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	file := filepath.Join(dir, "chart.tgz")
	if err := os.WriteFile(file, archive, 0o600); err != nil {
		return found, err
	}
	return s.choice.Renderer.Render(ctx, file, m.Name+" "+m.Version, values)
}

// read returns a blob, of which length and digest have been checked.
func (s *chartImages) read(ctx context.Context, repo name.Repository, d bundle.Descriptor, limit int64) ([]byte, error) {
	if d.Size > limit {
		return nil, fmt.Errorf("%w: %s has %d bytes, at most %d are read", bundle.ErrLimit, d.Digest, d.Size, limit)
	}
	return readBlob(ctx, s.choice.Source, repo, d)
}

func readBlob(ctx context.Context, source export.Source, repo name.Repository, d bundle.Descriptor) ([]byte, error) {
	body, err := source.Blob(ctx, repo.Digest(d.Digest.String()), d.Size)
	if err != nil {
		return nil, err
	}
	content, err := io.ReadAll(body)
	if err = errors.Join(err, body.Close()); err != nil {
		return nil, err
	}
	if got := bundle.DigestOf(content); got != d.Digest {
		return nil, fmt.Errorf("%w: %s was asked for, %s came", bundle.ErrDigest, d.Digest, got)
	}
	return content, nil
}

// add makes requests of what was found.
func (s *chartImages) add(found chart.Found, usedBy, entry, prefix string) {
	for _, image := range found.Images {
		request, err := export.ParseRequest(image.Ref)
		if err != nil || strings.Contains(image.Ref, "=") {
			s.Unparsed = append(s.Unparsed, export.UnparsedImage{Ref: image.Ref, Where: image.Where, Reason: "it is no image reference", Chart: usedBy})
			continue
		}
		request.Path = strings.TrimPrefix(prefix+"/"+request.Path, "/")
		request.Settings, request.Entry = s.choice.Settings, entry
		if usedBy != "" {
			request.UsedBy = []string{usedBy}
		}
		s.Requests = append(s.Requests, request)
		s.Found = append(s.Found, export.FoundImage{Source: request.Source, Ref: image.Ref, Where: image.Where, More: image.More, Chart: usedBy})
	}
	for _, p := range found.Unparsed {
		s.Unparsed = append(s.Unparsed, export.UnparsedImage{Ref: p.Ref, Where: p.Where, Reason: p.Reason, Chart: usedBy})
	}
}
