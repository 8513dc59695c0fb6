package catalogue_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"airgap/bundle"
	"airgap/export"
	"airgap/export/cache"
	. "airgap/export/registry/registrytest"
)

// counting counts what is noted.
type counting struct {
	export.Facts

	noted map[string]int
}

func (c counting) Note(fact string, at time.Time) {
	c.noted[fact]++
	c.Facts.Note(fact, at)
}

// history is plans one after the other, of two repositories with enough digests between them to prove a registry's lists.
type history struct {
	*Server
	facts export.Facts
}

func newHistory(t *testing.T) *history {
	t.Helper()
	h := &history{Server: New(t)}
	for i := range sampled {
		image(t, h.Server, "acme/app", fmt.Sprintf("t%03d", i), "1h") // two digests each
	}
	image(t, h.Server, "acme/last", "t", "1h")
	var err error
	if h.facts, err = cache.New(nil, t.TempDir(), nowFunc); err != nil {
		t.Fatal(err)
	}
	return h
}

// choose selects all of the two repositories, and of others.
func (h *history) choose(t *testing.T, others ...string) *export.Selection {
	t.Helper()
	var text strings.Builder
	text.WriteString("sync:\n")
	for _, repo := range append([]string{"acme/last", "acme/app"}, others...) {
		fmt.Fprintf(&text, "- {source: %[1]s/%[2]s, target: x/%[2]s, type: repository, tags: {allow: ['t.*']}}\n", h.Host(), repo)
	}
	return choose(t, text.String())
}

// plan returns for how many digests a plan asked whether they are signed, one by one.
func (h *history) plan(t *testing.T, got *export.Selection, at time.Time) (plan *export.Plan, asked int) {
	t.Helper()
	h.Forget()
	plan = walkWith(t, got, h.facts, at)
	return plan, h.Count(http.MethodHead, ".sig")
}

// What was proved of lists of tags is believed for a day, and not for longer because it was believed.
func TestListsAreProvedOnceADay(t *testing.T) {
	h := newHistory(t)
	got := h.choose(t)
	for _, day := range []int{0, 1} {
		began := now.Add(time.Duration(day) * 24 * time.Hour)
		if _, asked := h.plan(t, got, began); asked < sampled {
			t.Errorf("day %d: %d digests were asked for", day, asked)
		}
		for _, later := range []time.Duration{0, time.Hour, 23 * time.Hour} {
			if _, asked := h.plan(t, got, began.Add(later)); asked != 0 {
				t.Errorf("day %d, %s later: %d digests were asked for", day, later, asked)
			}
		}
	}
	if _, asked := h.plan(t, got, now); asked < sampled { // the clock was set back
		t.Errorf("with a proof of tomorrow %d digests were asked for", asked)
	}
}

// Of a registry whose lists are proved the first digest of each new repository is asked for, and what a list has is read.
func TestOnlyWhatIsNewIsProved(t *testing.T) {
	h := newHistory(t)
	h.plan(t, h.choose(t), now)
	image(t, h.Server, "acme/new", "t1", "1h")
	image(t, h.Server, "acme/new", "t2", "1h")
	signature := sign(t, h.Server, "acme/app", "t050")
	plan, asked := h.plan(t, h.choose(t, "acme/new"), now)
	if asked != 1+1 { // the new repository's first, and the signature
		t.Errorf("%d digests were asked for", asked)
	}
	if _, found := plan.Contents.Find(signature); !found {
		t.Error("a signature that is listed is not carried")
	}
}

// A digest tag that its list lacks ends what was proved before, even if it was found in another plan that runs at the same time.
func TestWhatIsFoundMissingEndsTheProof(t *testing.T) {
	h := newHistory(t)
	h.plan(t, h.choose(t), now)
	image(t, h.Server, "acme/new", "t", "1h")
	signatures := []bundle.Digest{sign(t, h.Server, "acme/app", "t050"), sign(t, h.Server, "acme/new", "t")}
	h.Inject(RoutesApart())
	noted := counting{h.facts, map[string]int{}}
	h.facts = noted
	plan, _ := h.plan(t, h.choose(t, "acme/new"), now.Add(time.Hour))
	if len(noted.noted) != 1 || noted.noted["the tags are not listed completely of "+h.Host()] != 1 {
		t.Errorf("noted: %v", noted.noted)
	}
	for i, d := range signatures {
		if _, found := plan.Contents.Find(d); !found {
			t.Errorf("signature %d is not carried", i)
		}
	}
	h.Inject()
	got := h.choose(t)
	if _, asked := h.plan(t, got, now.Add(90*time.Minute)); asked < sampled { // it proves all, but began before
		t.Errorf("%d digests were asked for", asked)
	}
	if _, asked := h.plan(t, got, now.Add(3*time.Hour)); asked < sampled {
		t.Errorf("%d digests were asked for", asked)
	}
}

// A sample for which not everything could be asked proves nothing.
func TestWhatFailedProvesNothing(t *testing.T) {
	h := newHistory(t)
	got := h.choose(t)
	h.Inject(On(http.MethodHead, ".att", Answer(http.StatusInternalServerError, "")))
	h.plan(t, got, now)
	h.Inject()
	if _, asked := h.plan(t, got, now); asked < sampled {
		t.Errorf("%d digests were asked for", asked)
	}
}

// That a registry has no path for referrers is found out anew by each plan, and not from a single answer.
func TestOneAnswerDoesNotEndTheSearchForReferrers(t *testing.T) {
	h := newHistory(t)
	got := h.choose(t)
	h.plan(t, got, now)
	h.Inject(On(http.MethodGet, "/referrers/", Answer(http.StatusNotFound, "404 page not found\n")))
	if h.plan(t, got, now); h.Count(http.MethodGet, "/referrers/") != 20 {
		t.Errorf("asked %d times for referrers", h.Count(http.MethodGet, "/referrers/"))
	}
	h.Inject(On(http.MethodGet, "/referrers/", Times(1, Answer(http.StatusNotFound, "404 page not found\n"))))
	if plan, _ := h.plan(t, got, now); plan.Err() == nil {
		t.Error("a registry that has referrers once, and then not, is believed")
	}
}
