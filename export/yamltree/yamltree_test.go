package yamltree_test

import (
	"strings"
	"testing"

	"airgap/export/yamltree"
)

// Small documents that would take the parser down with the whole program, as it runs out of stack, or keep it busy for
// minutes.
func TestHostileDocumentsAreRefused(t *testing.T) {
	const n = 4 << 20
	for name, text := range map[string]string{
		"lists":              strings.Repeat("[", n),
		"closed lists":       strings.Repeat("[", n) + strings.Repeat("]", n),
		"mappings":           strings.Repeat("{a: ", n/4),
		"sequences in a row": strings.Repeat("- ", n/2) + "a",
		"keys in a row":      strings.Repeat("? ", n/2) + "a",
		"anchors":            strings.Repeat("&a ", n/3) + "b",
		"tags":               strings.Repeat("!a ", n/3) + "b",
		"after a key":        "a: " + strings.Repeat("- ", n/2) + "b",
	} {
		if _, err := yamltree.Parse([]byte(text), yamltree.Options{File: "f"}); err == nil || !strings.Contains(err.Error(), "too deep") {
			t.Errorf("%s: %v", name, err)
		}
	}
	keys, commas := strings.Repeat("k: 1\n", 20_000), "a: {"+strings.Repeat("k: 1, ", 20_000)+"}"
	for name, text := range map[string]string{"lines": keys, "further in": "a:\n  " + strings.ReplaceAll(keys, "\n", "\n  "), "braces": commas} {
		if _, err := yamltree.Parse([]byte(text), yamltree.Options{File: "f", Lenient: true}); err == nil || !strings.Contains(err.Error(), "too many keys") {
			t.Errorf("keys in %s: %v", name, err)
		}
	}
	for name, text := range map[string]string{
		"many small mappings": strings.Repeat("- {a: b, c: d}\n- a: b\n  c: d\n", 5000),
		"a long list":         strings.Repeat("- a\n", 5000),
		"an empty list":       strings.Repeat("-\n", 50),
		"brackets in a text":  "a: |\n" + strings.Repeat("  [x] {y}\n", 5000),
		"nested by its lines": "a:\n b:\n  c:\n   - - d\n",
	} {
		if _, err := yamltree.Parse([]byte(text), yamltree.Options{File: "f"}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
