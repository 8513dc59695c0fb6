package bundle_test

import (
	"errors"
	"testing"

	"airgap/bundle"
)

// The rules are containerd's: the variant that is the default may be given or left out, on either side.
func TestPlatformsMatchHoweverTheyAreSpelled(t *testing.T) {
	for _, test := range []struct {
		asked string
		of    *bundle.Platform
		want  bool
	}{
		{"linux/arm64/v8", &bundle.Platform{OS: "linux", Architecture: "arm64"}, true},
		{"linux/arm64", &bundle.Platform{OS: "linux", Architecture: "arm64", Variant: "v8"}, true},
		{"linux/aarch64", &bundle.Platform{OS: "linux", Architecture: "arm64", Variant: "8"}, true},
		{"linux/arm64/v9", &bundle.Platform{OS: "linux", Architecture: "arm64"}, false},
		{"linux/arm/v7", &bundle.Platform{OS: "linux", Architecture: "arm"}, true},
		{"linux/arm/7", &bundle.Platform{OS: "linux", Architecture: "armhf"}, true},
		{"linux/armel", &bundle.Platform{OS: "linux", Architecture: "arm", Variant: "v6"}, true},
		{"linux/arm/v6", &bundle.Platform{OS: "linux", Architecture: "arm"}, false},
		{"linux/arm", &bundle.Platform{OS: "linux", Architecture: "arm", Variant: "v6"}, true},
		{"Linux/AMD64", &bundle.Platform{OS: "linux", Architecture: "x86_64"}, true},
		{"linux/amd64/v1", &bundle.Platform{OS: "linux", Architecture: "amd64"}, true},
		{"linux/amd64/v3", &bundle.Platform{OS: "linux", Architecture: "amd64"}, false},
		{"linux/386", &bundle.Platform{OS: "linux", Architecture: "i386"}, true},
		{"macos/arm64", &bundle.Platform{OS: "darwin", Architecture: "arm64"}, true},
		{"windows/amd64", &bundle.Platform{OS: "linux", Architecture: "amd64"}, false},
		{"linux/amd64", nil, false},
		{"", nil, true},
		{"", &bundle.Platform{OS: "linux", Architecture: "amd64"}, false},
	} {
		asked, err := bundle.ParsePlatform(test.asked)
		if err != nil {
			t.Fatal(err)
		}
		if got := asked.Matches(test.of); got != test.want {
			t.Errorf("%q and %v: %t", test.asked, test.of, got)
		}
	}
	for _, bad := range []string{"arm64", "linux/", "/arm64", "a/b/c/d", "linux/arm/"} {
		if _, err := bundle.ParsePlatform(bad); !errors.Is(err, bundle.ErrPlatform) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}
