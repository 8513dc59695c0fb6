package importer_test

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"

	"airgap/export/registry/harbor/harbortest"
	"airgap/export/registry/registrytest"
	importer "airgap/import"
	"airgap/import/importtest"
	"airgap/import/target"
)

// expectNotes compares notes with the beginnings and other parts that they should have, in their order.
func expectNotes(t *testing.T, got []string, want ...[]string) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%d notes, not %d: %q", len(got), len(want), got)
	}
	for i, parts := range want {
		for _, part := range parts {
			if !strings.Contains(got[i], part) {
				t.Errorf("%q is not in: %s", part, got[i])
			}
		}
	}
}

// TestAccessories: what each version of Harbor shows otherwise than it was sent is told.
func TestAccessories(t *testing.T) {
	a := importtest.NewAcme(t)
	path := a.File()
	kept := []string{"2 .att and .sbom tags", "artifacts of their own"}
	for version, want := range map[string][][]string{
		"v2.7.4":  {{"Harbor v2.7.4", "14 referrers as artifacts of their own", "fallback tags"}, kept},
		"v2.14.4": {{"Harbor v2.14.4", "10 Sigstore bundles", "subject.accessory", "before 2.15"}, kept},
		"v2.15.0": {kept},
	} {
		t.Run(version, func(t *testing.T) {
			s := acmeHarbor(t, harbortest.Version(version))
			c := importtest.HarborClient(t, harbortest.Admin)
			o := intoHarbor(t, s, c)
			for _, changes := range []bool{true, false} { // the second time, all of it is there
				done, err := importer.Run(t.Context(), importtest.Open(t, path), c, o)
				if err != nil || !done.Complete || done.Changed != changes {
					t.Fatalf("%v, %+v", err, done)
				}
				expectNotes(t, done.Notes, want...)
			}
			expectInHarbor(t, a, s)
		})
	}
}

// TestAccessoriesThatAreMissing: something is listed by the registry, and Harbor's own API does not know it.
func TestAccessoriesThatAreMissing(t *testing.T) {
	a := importtest.NewAcme(t)
	path := a.File()
	s := acmeHarbor(t, harbortest.Version("v2.15.0"))
	c := importtest.HarborClient(t, harbortest.Admin)
	o := intoHarbor(t, s, c)
	none := registrytest.Answer(http.StatusOK, "[]", "Content-Type", "application/json", "X-Total-Count", "0")
	s.Inject(registrytest.On("GET", a.Index.Digest.String()+"/accessories", none))
	done, err := importer.Run(t.Context(), importtest.Open(t, path), c, o)
	if err != nil || !done.Complete {
		t.Fatal(err)
	}
	expectNotes(t, done.Notes,
		[]string{"lists 10 referrers", "acme/app@" + a.Index.Digest.String()},
		[]string{"2 .sig tags", "acme/app@" + a.Index.Digest.String()}, []string{"2 .att"})

	// What is in neither is a difference.
	s.Inject(registrytest.On("GET", a.Index.Digest.String()+"/accessories", none),
		registrytest.On("GET", "/other/app/referrers/"+a.Index.Digest.String(), registrytest.Answer(http.StatusOK, `{"schemaVersion":2,"manifests":[]}`,
			"Content-Type", "application/vnd.oci.image.index.v1+json")))
	done, err = importer.Run(t.Context(), importtest.Open(t, path), c, o)
	if !errors.Is(err, target.ErrDiffers) || done.Complete {
		t.Error(err)
	}
}

// TestAccessoriesNotChecked: what the account may not see, or Harbor does not answer, is told, and no failure.
func TestAccessoriesNotChecked(t *testing.T) {
	a := importtest.NewAcme(t)
	path := a.File()
	s := acmeHarbor(t)
	c := importtest.HarborClient(t, pushers(s))
	done, err := importer.Run(t.Context(), importtest.Open(t, path), c, intoHarbor(t, s, c))
	if err != nil || !done.Complete {
		t.Fatal(err)
	}
	expectNotes(t, done.Notes, []string{"2 .att"}, []string{"not checked", "acme, other", "accessory:list"})

	c = importtest.HarborClient(t, pushers(s, harbortest.ListAccessories))
	o := intoHarbor(t, s, c)
	s.Inject(registrytest.On("GET", "/accessories", registrytest.Answer(http.StatusBadGateway, "<html>")))
	done, err = importer.Run(t.Context(), importtest.Open(t, path), c, o)
	if err != nil || !done.Complete {
		t.Fatal(err)
	}
	if i := slices.IndexFunc(done.Notes, func(n string) bool { return strings.Contains(n, "not checked") }); i < 0 || !strings.Contains(done.Notes[i], "502") {
		t.Errorf("%q", done.Notes)
	}
}
