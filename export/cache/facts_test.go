package cache_test

import (
	"os"
	"testing"
	"time"

	"airgap/bundle"
)

func TestFactsAreKept(t *testing.T) {
	const fact = "the earth is round"
	w := newWorld(t)
	if at := w.open(t).Noted(fact); !at.IsZero() {
		t.Errorf("noted at %s, before it was", at)
	}
	for _, at := range []time.Time{w.now, w.now.Add(-time.Hour).Add(time.Nanosecond)} {
		w.open(t).Note(fact, at)
		if noted := w.open(t).Noted(fact); !noted.Equal(at) {
			t.Errorf("noted at %s, want %s", noted, at)
		}
	}
	if at := w.open(t).Noted(fact + "er"); !at.IsZero() {
		t.Error("another fact is noted")
	}
	if _, _, err := w.open(t).Manifest(t.Context(), w.ref(t, "acme/app@"+bundle.DigestOf([]byte(fact)).String())); err == nil {
		t.Error("a fact is taken for a manifest")
	}
}

func TestDamagedFactsAreForgotten(t *testing.T) {
	const fact = "the earth is round"
	for name, damage := range map[string]string{
		"empty":      "",
		"cut":        "2026-11-20T12:00:00Z",
		"another":    "2026-11-20T12:00:00Z\nthe earth is flat\n",
		"more":       "2026-11-20T12:00:00Z\n" + fact + "\n" + fact + "\n",
		"no time":    "yesterday\n" + fact + "\n",
		"a manifest": bundle.MediaTypeOCIIndex + "\n" + fact,
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.open(t).Note(fact, w.now)
			files := w.files(t)
			if len(files) != 1 {
				t.Fatalf("the cache has %q", files)
			}
			if err := os.WriteFile(files[0], []byte(damage), 0o600); err != nil {
				t.Fatal(err)
			}
			if at := w.open(t).Noted(fact); !at.IsZero() {
				t.Errorf("noted at %s", at)
			}
		})
	}
}
