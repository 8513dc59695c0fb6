// Package chart finds the images that a Helm chart uses: those that its annotation names ([Metadata.Images]), and those
// that its rendered manifests name ([FromManifests], of what "helm template" gives; [Helm.Render] does both). It only
// looks: a chart is carried as it is, since its signature would break otherwise.
package chart

import (
	"fmt"

	"airgap/bundle/strictjson"
	"airgap/bundle/yaml"
)

// Media types of a chart in a registry. https://helm.sh/docs/topics/registries/#helm-chart-manifest
const (
	ConfigMediaType  = "application/vnd.cncf.helm.config.v1+json"
	ContentMediaType = "application/vnd.cncf.helm.chart.content.v1.tar+gzip"
)

// imagesAnnotation lists the images of a chart. https://artifacthub.io/docs/topics/annotations/helm/
const imagesAnnotation = "artifacthub.io/images"

// MaxConfig bounds the config of a chart, in bytes.
const MaxConfig = 4 << 20

// Image is an image that something names, and where.
type Image struct {
	Ref   string // as written
	Where string // for people, as in "Deployment web, nginx"
	More  int    // how many more places name it
}

// Problem is what looks like an image and cannot be read as one.
type Problem struct {
	Image

	Reason string
}

// Found is what was found.
type Found struct {
	Images   []Image // each once, in the order in which they were found
	Unparsed []Problem

	seen    map[string]int // places in Images, by the full name
	refused map[Problem]bool
}

// add takes what stands at a place where images stand.
func (f *Found) add(ref, where string) {
	full, err := fullName(ref)
	if err != nil {
		f.refuse(ref, where, err.Error())
		return
	}
	if i, known := f.seen[full]; known {
		f.Images[i].More++
		return
	}
	if f.seen == nil {
		f.seen = map[string]int{}
	}
	f.seen[full] = len(f.Images)
	f.Images = append(f.Images, Image{Ref: ref, Where: where})
}

func (f *Found) refuse(ref, where, reason string) {
	p := Problem{Image{Ref: short(ref), Where: where}, reason}
	if f.refused[p] {
		return
	}
	if f.refused == nil {
		f.refused = map[Problem]bool{}
	}
	f.refused[p] = true
	f.Unparsed = append(f.Unparsed, p)
}

// Merge adds what was found elsewhere.
func (f *Found) Merge(other Found) {
	for _, image := range other.Images {
		f.add(image.Ref, image.Where)
		if full, err := fullName(image.Ref); err == nil {
			f.Images[f.seen[full]].More += image.More
		}
	}
	for _, p := range other.Unparsed {
		f.refuse(p.Ref, p.Where, p.Reason)
	}
}

// Metadata is what a chart says of itself.
type Metadata struct {
	Name        string            `json:"name"`
	Version     string            `json:"version"`
	Annotations map[string]string `json:"annotations"`
}

// ParseConfig reads the config of a chart in a registry, which is its Chart.yaml as JSON.
func ParseConfig(content []byte) (*Metadata, error) {
	if len(content) > MaxConfig {
		return nil, fmt.Errorf("the config of the chart is larger than %d bytes", MaxConfig)
	}
	var m Metadata
	if err := strictjson.Unmarshal(content, &m); err != nil {
		return nil, fmt.Errorf("the config of the chart: %w", err)
	}
	return &m, nil
}

// Images returns the images that the chart's annotation names.
func (m *Metadata) Images() Found {
	var found Found
	annotation := m.Annotations[imagesAnnotation]
	if annotation == "" {
		return found
	}
	list, err := yaml.Parse([]byte(annotation), yaml.Options{File: imagesAnnotation, Lenient: true})
	if err != nil || list.Kind != yaml.Sequence {
		found.refuse("", imagesAnnotation, "the annotation is no list")
		return found
	}
	for _, entry := range list.Items {
		where := imagesAnnotation
		if label := text(entry, "name"); label != "" {
			where += " " + short(label)
		}
		if image := entry.Field("image"); image == nil || image.Kind != yaml.Scalar {
			found.refuse("", where, "an entry without image")
			continue
		}
		found.add(text(entry, "image"), where)
	}
	return found
}
