package placing

import (
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"airgap/bundle"
)

// unflatten reads a flattened path back.
func unflatten(flat string) string {
	var b strings.Builder
	for at := 0; at < len(flat); {
		end := at
		for end < len(flat) && flat[end] == '-' {
			end++
		}
		switch end - at {
		case 0:
			b.WriteByte(flat[at])
			end++
		case 1:
			b.WriteByte('-')
		case 2:
			b.WriteByte('/')
		default:
			b.WriteString(flat[at+1 : end])
		}
		at = end
	}
	return b.String()
}

func TestFlatten(t *testing.T) {
	for path, want := range map[string]string{
		"app": "app", "acme/app": "acme--app", "a/b/c": "a--b--c", "dhi-python": "dhi-python", "a--b": "a---b", "a---b/c": "a----b--c",
		"a-b/c__d/e.f": "a-b--c__d--e.f", "a----b--c": "a-----b---c",
	} {
		if got := flatten(path); got != want {
			t.Errorf("%s becomes %s, want %s", path, got, want)
		}
	}
}

// randomPath is a repository name of few different characters, so that much is alike.
func randomPath(random *rand.Rand) string {
	var b strings.Builder
	b.WriteByte("ab"[random.IntN(2)])
	for range random.IntN(5) {
		separators := []string{"", "/", "-", "--", "---", "----", "_", "__", ".", "/"}
		b.WriteString(separators[random.IntN(len(separators))])
		b.WriteByte("ab"[random.IntN(2)])
	}
	return b.String()
}

// Whatever names there are: flat ones have one element, are valid, differ, and can be read back.
func TestFlattenLosesNothing(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	from := map[string]string{}
	for range 50_000 {
		path := randomPath(random)
		if err := bundle.CheckPath(path); err != nil {
			t.Fatal(err)
		}
		flat := flatten(path)
		if err := bundle.CheckPath(flat); err != nil || strings.Contains(flat, "/") {
			t.Fatalf("%s becomes %s: %v", path, flat, err)
		}
		if earlier, taken := from[flat]; taken && earlier != path {
			t.Fatalf("%s and %s both become %s", earlier, path, flat)
		}
		from[flat] = path
		if back := unflatten(flat); back != path {
			t.Fatalf("%s becomes %s, which reads as %s", path, flat, back)
		}
	}
	if len(from) < 5_000 {
		t.Fatalf("only %d paths were tried", len(from))
	}
}

func FuzzFlatten(f *testing.F) {
	for _, seed := range []string{"acme/app", "a--b/c", "a---b", "a_b/c.d/e-f"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, path string) {
		if bundle.CheckPath(path) != nil {
			return
		}
		flat := flatten(path)
		if back := unflatten(flat); back != path || len(flat) > 2*len(path) {
			t.Errorf("%q becomes %q, which reads as %q", path, flat, back)
		}
		if err := bundle.CheckPath(flat); err != nil && len(flat) <= 255 || strings.Contains(flat, "/") {
			t.Errorf("%q becomes %q: %v", path, flat, err)
		}
	})
}

func TestPlaceFlat(t *testing.T) {
	roots := list{
		{Source: "docker.io/acme/app:1", Path: "acme/app", Tag: "1", ReferrerPath: "acme/app/proofs"},
		{Source: "docker.io/acme--app:1", Path: "acme--app", Tag: "1"},
		{Source: "quay.io/deep/er/tool:2", Path: "deep/er/tool", Tag: "2"},
	}
	mapping, err := ParseMapping("quay.io/*=kept/*")
	if err != nil {
		t.Fatal(err)
	}
	o := Rules{Flatten: true, Map: []Mapping{mapping}}
	if o.Destination, err = ParseDestination("registry.example.com/team/x"); err != nil {
		t.Fatal(err)
	}
	placed, err := Place(roots, o)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, image := range placed.Images {
		got = append(got, image.Path, image.ReferrerPath)
	}
	want := []string{
		"team/x/acme--app", "team/x/acme--app--proofs", "team/x/acme---app", "team/x/acme---app",
		"kept/deep/er/tool", "kept/deep/er/tool",
	}
	if !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	// What is as long as it may be has no room for another dash.
	long := strings.Repeat("a", 100) + "/" + strings.Repeat("b", 146)
	for path, fits := range map[string]bool{long: true, long + "b": false} {
		o.Map = nil
		if _, err := Place(list{{Source: "docker.io/x:1", Path: path, Tag: "1"}}, o); errors.Is(err, ErrMapping) == fits {
			t.Errorf("%d characters: %v", len(path), err)
		}
	}
}
