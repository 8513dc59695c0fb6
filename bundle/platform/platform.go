// Package platform is the platforms of images: as an index lists them, and as people ask for them.
package platform

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// ErrPlatform: a platform that is none, or that an image does not have.
var ErrPlatform = errors.New("no such platform")

// Platform is the part of a platform that people name.
// https://github.com/opencontainers/image-spec/blob/v1.1.1/image-index.md#image-index-property-descriptions
type Platform struct {
	OS           string   `json:"os,omitempty"`
	Architecture string   `json:"architecture,omitempty"`
	Variant      string   `json:"variant,omitempty"`
	OSVersion    string   `json:"os.version,omitempty"`
	OSFeatures   []string `json:"os.features,omitempty"`
}

// String returns "os/architecture" and, where there is one, "/variant".
func (p Platform) String() string {
	s := p.OS + "/" + p.Architecture
	if p.Variant != "" {
		s += "/" + p.Variant
	}
	return s
}

// None stands in a root's platforms for the entries of an index that name none.
const None = "/"

// Matcher is a platform that somebody asks for: an operating system and an architecture, with or without a
// variant. The zero value asks for what names no platform.
type Matcher struct{ os, architecture, variant string }

// Parse reads OS/ARCHITECTURE[/VARIANT], such as linux/arm64. "" asks for the entries of an index that name no
// platform. Errors wrap ErrPlatform.
func Parse(s string) (Matcher, error) {
	if s == "" {
		return Matcher{}, nil
	}
	parts := strings.Split(s, "/")
	if len(parts) < 2 || len(parts) > 3 || slices.Contains(parts, "") {
		return Matcher{}, fmt.Errorf("%w: %.60q; OS/ARCHITECTURE[/VARIANT] expected, as in linux/amd64 or linux/arm/v7", ErrPlatform, s)
	}
	parts = append(parts, "")
	return normalPlatform(parts[0], parts[1], parts[2]), nil
}

// normalPlatform spells a platform as Go and the image specification do, and leaves out variants that are the default.
// https://github.com/containerd/platforms/blob/v1.0.0/database.go
func normalPlatform(os, architecture, variant string) Matcher {
	p := Matcher{strings.ToLower(os), strings.ToLower(architecture), strings.ToLower(variant)}
	if p.os == "macos" {
		p.os = "darwin"
	}
	switch p.architecture {
	case "x86_64", "x86-64":
		p.architecture = "amd64"
	case "aarch64":
		p.architecture = "arm64"
	case "i386", "i686":
		p.architecture, p.variant = "386", ""
	case "armhf":
		p.architecture, p.variant = "arm", "v7"
	case "armel":
		p.architecture, p.variant = "arm", "v6"
	}
	switch {
	case p.architecture == "arm64" && (p.variant == "v8" || p.variant == "8"),
		p.architecture == "amd64" && p.variant == "v1":
		p.variant = ""
	case p.architecture == "arm" && len(p.variant) == 1:
		p.variant = "v" + p.variant
	}
	return p
}

// String returns the platform as Parse reads it.
func (p Matcher) String() string {
	if p == (Matcher{}) {
		return ""
	}
	return Platform{OS: p.os, Architecture: p.architecture, Variant: p.variant}.String()
}

// Matches tells whether of, as an index lists it (nil for none), is for p. Without a variant every variant fits; 32-bit
// ARM that is listed without one is v7.
func (p Matcher) Matches(of *Platform) bool {
	if of == nil {
		return p == Matcher{}
	}
	listed := normalPlatform(of.OS, of.Architecture, of.Variant)
	if listed.architecture == "arm" && listed.variant == "" {
		listed.variant = "v7"
	}
	return p.os == listed.os && p.architecture == listed.architecture && (p.variant == "" || p.variant == listed.variant)
}
