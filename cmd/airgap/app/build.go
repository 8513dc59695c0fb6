package app

import (
	"runtime"
	"runtime/debug"
)

// version is set by the linker: make build and make release pass it.
var version string

// Build says which airgap this is.
type Build struct {
	Version  string `json:"version"`
	Commit   string `json:"commit,omitempty"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

// ThisBuild returns what the linker was told, or else what the Go command recorded ("go install" does).
func ThisBuild() Build {
	b := Build{Version: version, Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	if info, ok := debug.ReadBuildInfo(); ok {
		if b.Version == "" {
			b.Version = info.Main.Version
		}
		for _, setting := range info.Settings {
			if setting.Key == "vcs.revision" {
				b.Commit = setting.Value
			}
		}
	}
	if b.Version == "" {
		b.Version = "(devel)"
	}
	return b
}

// UserAgent is how airgap introduces itself to registries.
func UserAgent() string { return "airgap/" + ThisBuild().Version }
