package elsewhere_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"

	"airgap/bundle"
	"airgap/import/elsewhere"
	"airgap/import/importtest"
	"airgap/import/inventory"
	"airgap/import/placing"
)

// holder is a target of which one repository has everything, and that counts questions.
type holder struct {
	has  string
	size int64 // of all blobs; -1: it does not say

	mu    sync.Mutex
	asked []string
}

func (h *holder) HasBlob(_ context.Context, repo name.Repository, _ bundle.Digest) (int64, bool, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.asked = append(h.asked, repo.RepositoryStr())
	return h.size, repo.RepositoryStr() == h.has, nil
}

// lacking is an inventory of images in repositories of their own, of which nothing is at the target.
func lacking(t *testing.T, images int) (*inventory.Inventory, []int32) {
	t.Helper()
	w := importtest.NewWorld(t)
	for i := range images {
		path := fmt.Sprintf("acme/app%d", i)
		w.Root("docker.io/"+path+":1", path, "1", w.Image(path))
	}
	b := importtest.Open(t, w.File())
	d, err := placing.ParseDestination("registry.example.com/new")
	if err != nil {
		t.Fatal(err)
	}
	placed, err := placing.Place(b.Contents(), placing.Rules{Destination: d})
	if err != nil {
		t.Fatal(err)
	}
	inv, err := inventory.New(b, placed)
	if err != nil {
		t.Fatal(err)
	}
	var rows []int32
	for blob := range inv.Blobs() {
		rows = append(rows, blob.Row)
	}
	return inv, rows
}

func repos(t *testing.T, paths ...string) (all []name.Repository) {
	t.Helper()
	for _, path := range paths {
		repo, err := name.NewRepository("registry.example.com/" + path)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, repo)
	}
	return all
}

// TestNearestFirst: the repository of the same name elsewhere is asked first, and then the one that had the blob before.
func TestNearestFirst(t *testing.T) {
	inv, rows := lacking(t, 1)
	h := &holder{has: "old/acme/app0", size: -1}
	if err := elsewhere.New(inv, h, 1).Look(t.Context(), rows, repos(t, "a/b", "old/acme/app9", "old/acme/app0", "old/app0")); err != nil {
		t.Fatal(err)
	}
	from, found := inv.Mountable(inv.Blob(rows[0]))
	if !found || from.RepositoryStr() != h.has || !slices.Equal(h.asked, []string{"old/acme/app0"}) {
		t.Errorf("%v, asked %q", from, h.asked)
	}
}

// TestOtherSizeElsewhere: what has another size is not what is looked for.
func TestOtherSizeElsewhere(t *testing.T) {
	inv, rows := lacking(t, 1)
	h := &holder{has: "old/acme/app0", size: 1}
	if err := elsewhere.New(inv, h, 1).Look(t.Context(), rows, repos(t, "old/acme/app0")); err != nil {
		t.Fatal(err)
	}
	if from, found := inv.Mountable(inv.Blob(rows[0])); found {
		t.Error(from)
	}
}

// TestQuestionsInVain: they end.
func TestQuestionsInVain(t *testing.T) {
	inv, rows := lacking(t, 100)
	h := &holder{size: -1}
	var paths []string
	for i := range 100 {
		paths = append(paths, fmt.Sprintf("old/other%d", i))
	}
	if err := elsewhere.New(inv, h, 4).Look(t.Context(), rows, repos(t, paths...)); err != nil {
		t.Fatal(err)
	}
	if n := len(h.asked); n < 4000 || n > 4000+4 {
		t.Errorf("%d questions", n)
	}
}
