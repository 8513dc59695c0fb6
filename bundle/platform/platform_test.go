package platform_test

import (
	"errors"
	"testing"

	"airgap/bundle/platform"
)

// The rules are containerd's: the variant that is the default may be given or left out, on either side.
func TestPlatformsMatchHoweverTheyAreSpelled(t *testing.T) {
	for _, test := range []struct {
		asked string
		of    *platform.Platform
		want  bool
	}{
		{"linux/arm64/v8", &platform.Platform{OS: "linux", Architecture: "arm64"}, true},
		{"linux/arm64", &platform.Platform{OS: "linux", Architecture: "arm64", Variant: "v8"}, true},
		{"linux/aarch64", &platform.Platform{OS: "linux", Architecture: "arm64", Variant: "8"}, true},
		{"linux/arm64/v9", &platform.Platform{OS: "linux", Architecture: "arm64"}, false},
		{"linux/arm/v7", &platform.Platform{OS: "linux", Architecture: "arm"}, true},
		{"linux/arm/7", &platform.Platform{OS: "linux", Architecture: "armhf"}, true},
		{"linux/armel", &platform.Platform{OS: "linux", Architecture: "arm", Variant: "v6"}, true},
		{"linux/arm/v6", &platform.Platform{OS: "linux", Architecture: "arm"}, false},
		{"linux/arm", &platform.Platform{OS: "linux", Architecture: "arm", Variant: "v6"}, true},
		{"Linux/AMD64", &platform.Platform{OS: "linux", Architecture: "x86_64"}, true},
		{"linux/amd64/v1", &platform.Platform{OS: "linux", Architecture: "amd64"}, true},
		{"linux/amd64/v3", &platform.Platform{OS: "linux", Architecture: "amd64"}, false},
		{"linux/386", &platform.Platform{OS: "linux", Architecture: "i386"}, true},
		{"macos/arm64", &platform.Platform{OS: "darwin", Architecture: "arm64"}, true},
		{"windows/amd64", &platform.Platform{OS: "linux", Architecture: "amd64"}, false},
		{"linux/amd64", nil, false},
		{"", nil, true},
		{"", &platform.Platform{OS: "linux", Architecture: "amd64"}, false},
	} {
		asked, err := platform.Parse(test.asked)
		if err != nil {
			t.Fatal(err)
		}
		if got := asked.Matches(test.of); got != test.want {
			t.Errorf("%q and %v: %t", test.asked, test.of, got)
		}
	}
	for _, bad := range []string{"arm64", "linux/", "/arm64", "a/b/c/d", "linux/arm/"} {
		if _, err := platform.Parse(bad); !errors.Is(err, platform.ErrPlatform) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}
