package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"airgap/bundle"
	"airgap/bundle/bundletest"
	"airgap/bundle/ledger"
	"airgap/bundle/ledger/ledgertest"
	"airgap/export/registry"
	"airgap/export/registry/harbor/harbortest"
	"airgap/export/registry/registrytest"
	"airgap/export/registry/repository"
	"airgap/import/importtest"
	"airgap/import/placing"
	"airgap/import/prune"
	"airgap/import/record"
	"airgap/verify/signature"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
)

// recorded is a target with a record, whose images were brought in as few words as possible.
type recorded struct {
	*world
	to     string // REGISTRY/PREFIX
	login  []string
	client *registry.Client
	public string // file
}

// atTargets runs a test at a registry and at a Harbor.
func atTargets(t *testing.T, test func(*testing.T, *recorded)) {
	t.Run("registry", func(t *testing.T) {
		test(t, newRecorded(t, bundletest.StartRegistry(t, true), nil, nil))
	})
	t.Run("Harbor", func(t *testing.T) {
		s := harbortest.New(t)
		s.AddProject(harbortest.Project{Name: "lab"})
		test(t, newRecorded(t, s.Host(), harbortest.Admin.Keychain(), []string{"--username", harbortest.Admin.Name, "--password-stdin"}))
	})
}

func newRecorded(t *testing.T, host string, keychain authn.Keychain, login []string) *recorded {
	t.Helper()
	w := newWorld(t)
	c := registry.New(registry.Config{Keychain: keychain, Host: func(string) registry.HostConfig { return registry.HostConfig{PlainHTTP: true} }})
	t.Cleanup(c.CloseIdleConnections)
	return &recorded{w, host + "/lab", login, c, w.write(t, "trusted.pub", string(ledgertest.Key.Public().MarshalPEM()))}
}

// begins is an import that is killed when it has moved all tags.
func (r *recorded) begins(t *testing.T, mirror string, sequence uint64, images ...ledgertest.Image) {
	t.Helper()
	r.imports(t, ledgertest.Key, mirror, sequence, "", true, images)
}

// bring imports a bundle; images that are to be lost are recorded and not there.
func (r *recorded) bring(t *testing.T, key *signature.PrivateKey, mirror string, sequence uint64, lost string, images ...ledgertest.Image) {
	t.Helper()
	r.imports(t, key, mirror, sequence, lost, false, images)
}

func (r *recorded) imports(t *testing.T, key *signature.PrivateKey, mirror string, sequence uint64, lost string, killed bool, images []ledgertest.Image) {
	t.Helper()
	d, err := placing.ParseDestination(r.to)
	if err != nil {
		t.Fatal(err)
	}
	place, err := record.Place(d, nil)
	if err != nil {
		t.Fatal(err)
	}
	repo := repository.New(r.client, place)
	a := ledgertest.Of(t, key, bundle.PlanOptions{Mirror: mirror, Sequence: sequence}, images...)
	if err := record.Keep(t.Context(), repo, a, &bundle.Header{Mirror: mirror, Sequence: sequence}); err != nil {
		t.Fatal(err)
	}
	var rows []record.Placed
	for i, image := range images {
		rows = append(rows, record.Placed{Root: i, Repository: "lab/" + image.Path, Tag: image.Tag, Digest: image.Digest(), Outcome: record.New})
		if image.Tag != lost {
			r.put(t, d.Registry.Repo("lab", image.Path), image)
		}
	}
	at := time.Unix(1_700_000_000+int64(sequence), 0)
	i := record.Import{Bundle: a.Index.Digest, Mirror: mirror, Sequence: sequence, Destination: r.to, Started: at, Finished: at, Account: "robot$lab\x1b", Complete: true}
	if killed {
		_, err = record.Plan(t.Context(), repo, a.Index.Descriptor, i, slices.Values(rows))
	} else {
		err = record.Done(t.Context(), repo, a.Index.Descriptor, i, slices.Values(rows))
	}
	if err != nil {
		t.Fatal(err)
	}
}

func (r *recorded) put(t *testing.T, repo name.Repository, image ledgertest.Image) {
	t.Helper()
	in, objects := repository.New(r.client, repo), image.Objects()
	if err := in.PutBlob(t.Context(), objects[0]); err != nil {
		t.Fatal(err)
	}
	if err := in.PutManifest(t.Context(), objects[1], image.Tag); err != nil {
		t.Fatal(err)
	}
}

func (r *recorded) expect(t *testing.T, code int, message string, args ...string) string {
	t.Helper()
	r.Stdin = strings.NewReader(harbortest.Admin.Secret)
	r.world.expect(t, code, message, append(args, r.login...)...)
	return r.out.String()
}

func tagged(tag string) ledgertest.Image {
	return ledgertest.Image{Path: "acme/app", Tag: tag, Text: "app " + tag}
}

func TestReceipt(t *testing.T) {
	atTargets(t, func(t *testing.T, r *recorded) {
		r.expect(t, exitMissing, "--record", "receipt", r.to, "--key", r.public)
		r.bring(t, ledgertest.Key, "dhi", 11, "", tagged("1"))
		r.bring(t, ledgertest.Key, "dhi", 12, "", tagged("1"), tagged("2"))
		r.bring(t, ledgertest.Key, "dhi", 13, "3", tagged("2"), tagged("3"), tagged("4"))
		r.begins(t, "dhi", 14, tagged("2"))
		file := filepath.Join(r.home, "receipt.json")
		out := r.expect(t, exitOK, "", "receipt", r.to, "--key", r.public, "-o", file)
		lines := strings.Split(strings.TrimSpace(out), "\n")
		if !strings.Contains(out, "dhi@13 of 2023-11-14: 2 of 3 images") || !strings.Contains(out, "dhi@12 of 2023-11-14: everything, 2 images") || !strings.Contains(out, "dhi@14 of 2023-11-14: 0 of 1 image") || len(lines) != 5 {
			t.Errorf("%s", out)
		}
		line, err := ledger.ParseLine(lines[len(lines)-1])
		if err != nil || line.Mirror != "dhi" || line.Sequence != 12 {
			t.Error(line, err)
		}
		f, err := os.Open(file)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		receipt, err := ledger.ReadReceipt(f)
		if err != nil || receipt.Target != r.to || receipt.Complete == nil || receipt.Complete.Sequence != 12 || len(receipt.Others) != 2 || receipt.Others[1].There != 2 {
			t.Errorf("%+v, %v", receipt, err)
		}
		var shown ledger.Receipt
		if err := json.Unmarshal([]byte(r.expect(t, exitOK, "", "receipt", r.to, "--key", r.public, "--json")), &shown); err != nil || shown.Line != receipt.Line {
			t.Errorf("%+v, %v", shown, err)
		}
		r.bring(t, ledgertest.Key, "charts", 1, "1", tagged("1"))
		r.expect(t, exitUsage, "charts, dhi", "receipt", r.to, "--key", r.public)
		r.expect(t, exitOK, "", "receipt", r.to, "--key", r.public, "--mirror", "dhi")
		r.expect(t, exitUsage, "--key is missing", "receipt", r.to)
		r.expect(t, exitUsage, "name the project", "receipt", strings.TrimSuffix(r.to, "/lab"), "--key", r.public)
		r.expect(t, exitOK, "", "receipt", strings.TrimSuffix(r.to, "/lab"), "--record", "lab/airgap", "--mirror", "dhi", "--key", r.public)
	})
}

func TestStatus(t *testing.T) {
	stranger := newKey(t)
	atTargets(t, func(t *testing.T, r *recorded) {
		r.bring(t, ledgertest.Key, "dhi", 1, "", tagged("1"))
		r.bring(t, ledgertest.Key, "dhi", 2, "", tagged("1"), tagged("2"))
		r.bring(t, ledgertest.Key, "dhi", 5, "", tagged("2"))
		r.bring(t, stranger, "dhi", 6, "", tagged("2"))
		r.begins(t, "dhi", 7, tagged("2"))
		out := r.expect(t, exitOK, "", "status", r.to, "--key", r.public)
		for _, want := range []string{
			"dhi@2  made 2023-11-14  2 images", "signed by " + ledgertest.Key.Public().Fingerprint(), "imported 2023-11-14T22:13:22Z into " + r.to + ` by robot$lab\x1b: complete, 2 new`,
			"dhi@3 to dhi@4  never imported", "dhi-000006  not believed: ", "begun 2023-11-14T22:13:27Z into " + r.to + ` by robot$lab\x1b: it did not come to an end, 1 new`,
		} {
			if !strings.Contains(out, want) {
				t.Errorf("%q is missing:\n%s", want, out)
			}
		}
		var s status
		if err := json.Unmarshal([]byte(r.expect(t, exitOK, "", "status", r.to, "--key", r.public, "--json")), &s); err != nil {
			t.Fatal(err)
		}
		if len(s.Bundles) != 4 || s.Bundles[2].Sequence != 5 || fmt.Sprint(s.Gaps) != "[dhi@3 to dhi@4  never imported dhi@6  never imported]" || len(s.Doubts) != 1 || len(s.Bundles[0].Imports) != 1 {
			t.Errorf("%+v", s)
		}
		r.expect(t, exitMissing, "charts", "status", r.to, "--key", r.public, "--mirror", "charts")
	})
}

func TestPruneCommand(t *testing.T) {
	atTargets(t, func(t *testing.T, r *recorded) {
		r.bring(t, ledgertest.Key, "dhi", 1, "", tagged("1"), tagged("2"))
		r.bring(t, ledgertest.Key, "dhi", 2, "", tagged("2"))
		r.bring(t, ledgertest.Key, "dhi", 3, "", tagged("2"))
		command := []string{"prune", r.to, "--mirror", "dhi", "--key", r.public}
		out := r.expect(t, exitOK, "dhi@3, dhi@2 keep their images", command...)
		if !strings.Contains(out, r.to+"/acme/app:1  to be removed: docker.io/acme/app:1, last listed by dhi@1") {
			t.Errorf("%s", out)
		}
		r.expect(t, exitOK, "", "inspect", r.to+"/acme/app:1", "--digest")
		r.expect(t, exitOK, "", append(command, "--delete")...)
		r.expect(t, exitMissing, "", "inspect", r.to+"/acme/app:1", "--digest")
		r.expect(t, exitOK, "", "inspect", r.to+"/acme/app:2", "--digest")
		r.expect(t, exitOK, "1 gone already", append(command, "--delete")...)
		r.expect(t, exitMissing, "charts", "prune", r.to, "--mirror", "charts", "--key", r.public)
		r.expect(t, exitUsage, "--mirror is missing", "prune", r.to, "--key", r.public)
		r.expect(t, exitUsage, "--keep", append(command, "--keep", "0")...)
	})
}

func TestDiff(t *testing.T) {
	atTargets(t, func(t *testing.T, r *recorded) {
		r.bring(t, ledgertest.Key, "dhi", 1, "", tagged("1"), tagged("2"))
		r.bring(t, ledgertest.Key, "dhi", 2, "", tagged("2"), tagged("3"))
		dir := filepath.Join(r.home, "ledger")
		l := ledger.Ledger{Repository: ledger.Directory(dir)}
		first := ledgertest.Of(t, ledgertest.Key, bundle.PlanOptions{Mirror: "dhi", Sequence: 1}, tagged("1"), tagged("2"))
		if err := l.Put(t.Context(), "dhi-000001", first); err != nil {
			t.Fatal(err)
		}
		line := ledger.LineOf("dhi", 1, first.Index.Digest).String()
		for _, sides := range [][2]string{{"dhi@1", r.to}, {line, r.to + "/airgap:dhi-000002"}, {r.to + "/airgap:dhi-000001", r.to}} {
			out := r.expect(t, exitOK, "", "diff", sides[0], sides[1], "--ledger", dir, "--key", r.public)
			for _, want := range []string{
				"from dhi@1 of 2023-11-14", "to   dhi@2 of", "+ acme/app:3  " + tagged("3").Digest().String() + "  docker.io/acme/app:3", "- acme/app:1  ",
				"1 image added, 0 moved, 1 gone, 0 with other referrers, 1 unchanged", "2 blobs new",
			} {
				if !strings.Contains(out, want) {
					t.Errorf("%q: %q is missing:\n%s", sides, want, out)
				}
			}
		}
		var shown comparison
		if err := json.Unmarshal([]byte(r.expect(t, exitOK, "", "diff", r.to, "dhi@1", "--ledger", dir, "--key", r.public, "--json")), &shown); err != nil {
			t.Fatal(err)
		}
		if shown.A.Sequence != 2 || shown.B.Sequence != 1 || len(shown.Added) != 1 || shown.Added[0].Destination != "acme/app:1" {
			t.Errorf("%+v", shown)
		}
		r.expect(t, exitOK, "no signature was checked", "diff", "dhi@1", "dhi@1", "--ledger", dir)
		r.expect(t, exitUsage, "--key is missing", "diff", "dhi@1", r.to, "--ledger", dir)
		r.expect(t, exitUsage, "word", "diff", line+"x", r.to, "--ledger", dir, "--key", r.public)
		r.expect(t, exitMissing, "dhi-000009", "diff", "dhi@9", r.to, "--ledger", dir, "--key", r.public)
		r.expect(t, exitUsage, "no such file", "diff", "none.tar", r.to, "--key", r.public)
		other := ledgertest.New(t, "dhi", 1, "another")
		r.expect(t, exitFailure, "another bundle under that number", "diff", ledger.LineOf("dhi", 1, other.Index.Digest).String(), r.to, "--ledger", dir, "--key", r.public)
		stranger := r.write(t, "stranger.pub", string(newKey(t).Public().MarshalPEM()))
		r.expect(t, exitUntrusted, "", "diff", "dhi@1", "dhi@1", "--ledger", dir, "--key", stranger)
	})
}

func newKey(t *testing.T) *signature.PrivateKey {
	t.Helper()
	k, err := signature.Generate(signature.ECDSAP256)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestDiffOfFiles(t *testing.T) {
	c := exportFixture(t)
	c.expect(t, exitOK, "", "diff", c.file, c.file, "--key", c.public)
	if out := c.out.String(); !strings.Contains(out, "0 images added, 0 moved, 0 gone, 0 with other referrers") || !strings.Contains(out, "0 blobs new, 0 B") {
		t.Errorf("%s", out)
	}
}

// A prune that is killed at any request that changes something is run again, and comes to the same end.
func TestKilledPrune(t *testing.T) {
	for name, target := range map[string]struct {
		start func(*killer) (host string)
		login []string
	}{
		"registry": {func(k *killer) string { return registrytest.New(t, registrytest.Faults(k.fault)).Host() }, nil},
		"Harbor": {func(k *killer) string {
			s := harbortest.New(t, harbortest.Faults(k.fault))
			s.AddProject(harbortest.Project{Name: "lab"})
			return s.Host()
		}, []string{"--username", harbortest.Admin.Name, "--password-stdin"}},
	} {
		t.Run(name, func(t *testing.T) {
			for _, when := range []moment{beforeIt, afterIt} {
				for n, killed := 0, true; killed; n++ {
					k := &killer{committed: map[string]int{}, method: http.MethodDelete}
					r := newRecorded(t, target.start(k), harbortest.Admin.Keychain(), target.login)
					r.bring(t, ledgertest.Key, "dhi", 1, "", tagged("1"), tagged("2"), tagged("3"))
					r.bring(t, ledgertest.Key, "dhi", 2, "", tagged("3"))
					prune := []string{"prune", r.to, "--mirror", "dhi", "--key", r.public, "--keep", "1", "--delete"}
					killed = k.run(t, n, when, append(prune, r.login...))
					k.disarm()
					r.expect(t, exitOK, "0 failed", prune...)
					if out := r.expect(t, exitOK, "", append(prune, "--json")...); !strings.Contains(out, `"changed": false`) {
						t.Errorf("killed %s deletion %d: it is not done: %s", when, n, out)
					}
					for _, tag := range []string{"1", "2"} {
						r.expect(t, exitMissing, "", "inspect", r.to+"/acme/app:"+tag, "--digest")
					}
					r.expect(t, exitOK, "", "inspect", r.to+"/acme/app:3", "--digest")
				}
			}
		})
	}
}

// An import that is killed at any request that writes to the record is run again, and comes to the same end: in the tags, in what the record
// tells, and in what prune would remove when the next bundle lists less.
func TestKilledRecord(t *testing.T) {
	bundles := importtest.NewWeekly(t, 1)
	first := bundles.Files[0]
	bundles.Images = bundles.Images[:1]
	bundles.Number("acme", 2)
	next := bundles.File()
	w := newWorld(t)
	w.Now = time.Now // as of who is killed
	key := []string{"--key", w.write(t, "trusted.pub", string(bundles.Key.Public().MarshalPEM()))}
	for _, when := range []moment{beforeIt, afterIt} {
		n := 0
		for killed := true; killed; n++ {
			k := &killer{committed: map[string]int{}, path: "/mirror/airgap/"}
			s := registrytest.New(t, registrytest.NoReferrersAPI(), registrytest.Faults(k.fault))
			to := s.Host() + "/mirror"
			killed = k.run(t, n, when, append([]string{"import", first, to}, key...))
			k.disarm()
			w.expect(t, exitOK, "", append([]string{"import", first, to}, key...)...)
			for _, tag := range []string{"1", "first"} {
				if got := s.StoredManifest("mirror/acme/app", tag); bundle.DigestOf(got) != bundles.Built[0].Digest {
					t.Errorf("killed %s request %d: app:%s is %q", when, n, tag, got)
				}
			}
			expectOneImport(t, w, when, n, append([]string{"status", to, "--json"}, key...))
			w.expect(t, exitOK, "", append([]string{"import", next, to}, key...)...)
			var pruned prune.Report
			w.expect(t, exitOK, "", append([]string{"prune", to, "--mirror", "acme", "--keep", "1", "--json"}, key...)...)
			if err := json.Unmarshal(w.out.Bytes(), &pruned); err != nil || len(pruned.Rows) != 2 || pruned.Rows[0].Name() != to+"/acme/app:first" || pruned.Rows[1].Name() != to+"/acme/tool:1" {
				t.Errorf("killed %s request %d: %v, %+v", when, n, err, pruned.Rows)
			}
		}
		if n < 20 {
			t.Errorf("killed only %d times", n-1)
		}
	}
}

// expectOneImport checks that the record has one bundle, whose imports ended, whole, with the last of them.
func expectOneImport(t *testing.T, w *world, when moment, n int, command []string) {
	t.Helper()
	var s status
	w.expect(t, exitOK, "", command...)
	if err := json.Unmarshal(w.out.Bytes(), &s); err != nil || len(s.Bundles) != 1 || len(s.Doubts) > 0 {
		t.Fatalf("killed %s request %d: %v, %+v", when, n, err, s)
	}
	imports := s.Bundles[0].Imports
	if ended := slices.IndexFunc(imports, func(i record.Import) bool { return i.IsWhole() }); ended != len(imports)-1 || len(imports) == 0 || len(imports) > 2 {
		t.Errorf("killed %s request %d: %+v", when, n, imports)
	}
}
