package importer_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"

	"airgap/bundle"
	"airgap/export/registry"
	"airgap/export/registry/harbor"
	"airgap/export/registry/harbor/harbortest"
	"airgap/export/registry/registrytest"
	"airgap/export/registry/retry"
	importer "airgap/import"
	"airgap/import/finding"
	"airgap/import/importtest"
	"airgap/import/placing"
	"airgap/import/projects"
	"airgap/import/report"
	"airgap/import/target"
)

// atHarbor is a bundle and the Harbor that it goes to.
type atHarbor struct {
	*importtest.Acme
	t      *testing.T
	s      *harbortest.Server
	path   string                                // of the bundle
	around func(importer.Target) importer.Target // nil: the client is the target
	warns  []string
}

func newAtHarbor(t *testing.T, opts ...harbortest.Option) *atHarbor {
	return &atHarbor{Acme: importtest.NewAcme(t), t: t, s: harbortest.New(t, opts...)}
}

// Phase, Add, Item and Warn make it an observer.
func (*atHarbor) Count(string, string, int64) {}
func (*atHarbor) Phase(string, int64)         {}
func (*atHarbor) Add(int64)                   {}
func (*atHarbor) Item(string)                 {}
func (h *atHarbor) Warn(text string)          { h.warns = append(h.warns, text) }

// run imports into PREFIX as who.
func (h *atHarbor) run(who harbortest.Account, prefix string, changes ...func(*importer.Options)) (*report.Report, error) {
	h.t.Helper()
	var keychain authn.Keychain
	if who.Name != "" {
		keychain = who.Keychain()
	}
	c := registry.New(registry.Config{
		Keychain: keychain,
		Host:     func(string) registry.HostConfig { return registry.HostConfig{PlainHTTP: true} },
		Retry:    retry.Policy{Attempts: 2, Sleep: func(ctx context.Context, _ time.Duration) error { return ctx.Err() }},
	})
	h.t.Cleanup(c.CloseIdleConnections)
	d, err := placing.ParseDestination(h.s.Host() + "/" + prefix)
	if err != nil {
		h.t.Fatal(err)
	}
	o := importer.Options{Rules: placing.Rules{Destination: d}, TempDir: h.t.TempDir(), Observer: h}
	if o.Harbor, err = harbor.Find(h.t.Context(), c, d.Registry); err != nil || o.Harbor == nil {
		h.t.Fatal("no Harbor was found: ", err)
	}
	for _, change := range changes {
		change(&o)
	}
	if h.path == "" {
		h.path = h.File()
	}
	h.warns = nil
	var at importer.Target = c
	if h.around != nil {
		at = h.around(c)
	}
	return importer.Run(h.t.Context(), importtest.Open(h.t, h.path), at, o)
}

// content is everything that an import could change.
func (h *atHarbor) content() map[string]any {
	all := map[string]any{"projects": h.s.Projects(), "repositories": h.s.Repositories(), "uploads": h.s.Uploads()}
	for _, project := range h.s.Projects() {
		all["used by "+project] = h.s.Used(project)
		all["settings of "+project] = h.s.Project(project)
	}
	for _, repo := range h.s.Repositories() {
		all["tags of "+repo], all["artifacts of "+repo] = h.s.Tags(repo), h.s.Artifacts(repo)
	}
	return all
}

// refused runs an import that must be stopped by the preflight with nothing written.
func (h *atHarbor) refused(who harbortest.Account, prefix string, changes ...func(*importer.Options)) *report.Report {
	h.t.Helper()
	before := h.content()
	done, err := h.run(who, prefix, changes...)
	if !errors.Is(err, finding.ErrBlocked) || done.Complete || done.Changed {
		h.t.Fatalf("complete %t, changed %t, %v", done.Complete, done.Changed, err)
	}
	if after := h.content(); !reflect.DeepEqual(before, after) {
		h.t.Errorf("something was written:\n%v\n%v", before, after)
	}
	for _, f := range done.Findings {
		if f.Level != finding.Blocks {
			continue
		}
		if f.Remedy == "" || !strings.Contains(err.Error(), f.Message) || !strings.Contains(err.Error(), f.Remedy) {
			h.t.Errorf("without remedy, or not in the error: %+v\n%v", f, err)
		}
	}
	return done
}

func (h *atHarbor) works(who harbortest.Account, prefix string, changes ...func(*importer.Options)) *report.Report {
	h.t.Helper()
	done, err := h.run(who, prefix, changes...)
	if err != nil || !done.Complete {
		h.t.Fatal(err)
	}
	return done
}

// expectFinding looks for a finding by what is given of it.
func expectFinding(t *testing.T, r *report.Report, level finding.Level, check finding.Check, subject, text string) {
	t.Helper()
	for _, f := range r.Findings {
		if f.Level == level && f.Check == check && f.Subject == subject && strings.Contains(f.Message+"; "+f.Remedy, text) {
			return
		}
	}
	t.Errorf("no finding %s, %s, %q with %q in\n%s", level, check, subject, text, strings.Join(finding.Lines(r.Findings), "\n"))
}

func expectNone(t *testing.T, r *report.Report, level finding.Level, check finding.Check) {
	t.Helper()
	for _, f := range r.Findings {
		if f.Level == level && f.Check == check {
			t.Errorf("found %+v", f)
		}
	}
}

func (h *atHarbor) private() { h.Images[0].Root.Private = true }

func createProjects(o *importer.Options) { o.CreateProjects = true }

// TestPreflightBlocks: what Harbor would refuse is found, and nothing is written.
func TestPreflightBlocks(t *testing.T) {
	type blocked struct {
		check         finding.Check
		subject, text string // HOST in a subject is the target
	}
	lab := harbortest.Project{Name: "lab"}
	for label, test := range map[string]struct {
		project harbortest.Project
		prefix  string // "lab" if empty
		before  func(h *atHarbor) harbortest.Account
		change  func(*importer.Options)
		want    blocked
	}{
		"wrong password": {
			before: func(h *atHarbor) harbortest.Account {
				robot := h.s.AddRobot("lab", "imp", harbortest.Push)
				return harbortest.Account{Name: robot.Name, Secret: "secret-wrong"}
			},
			want: blocked{finding.CheckLogin, "HOST", "airgap login"},
		},
		"no account": {
			before: func(*atHarbor) harbortest.Account { return harbortest.Account{} },
			want:   blocked{finding.CheckLogin, "HOST", "none were given"},
		},
		"read-only": {
			before: func(h *atHarbor) harbortest.Account {
				h.s.Change(func(set *harbortest.Settings) { set.ReadOnly = true })
				return harbortest.Admin
			},
			want: blocked{finding.CheckReadOnly, "HOST", "Repository Read Only"},
		},
		"missing project": {prefix: "absent", want: blocked{finding.CheckProject, "project absent", "--create-projects"}},
		"missing project that the robot may not create": {
			prefix: "absent", change: createProjects,
			before: func(h *atHarbor) harbortest.Account { return h.s.AddRobot("lab", "imp", harbortest.Push) },
			want:   blocked{finding.CheckProject, "project absent", "system permission Project: Create"},
		},
		"missing project that the person may not create": {
			prefix: "absent", change: createProjects,
			before: func(h *atHarbor) harbortest.Account {
				h.s.Change(func(set *harbortest.Settings) { set.ProjectCreation = "adminonly" })
				return h.s.AddUser("ada")
			},
			want: blocked{finding.CheckProject, "project absent", "Project Creation"},
		},
		"project that later versions do not tell of": {
			prefix: "other",
			before: func(h *atHarbor) harbortest.Account {
				h.s.Change(func(set *harbortest.Settings) { set.HeadForMembers = true })
				h.s.AddProject(harbortest.Project{Name: "other"})
				return h.s.AddRobot("lab", "imp", harbortest.Push)
			},
			want: blocked{finding.CheckProject, "project other", "no rights in it"},
		},
		"name that no project can have": {prefix: "a__b", want: blocked{finding.CheckProject, "project a__b", "--map"}},
		"repository in no project": {
			change: func(o *importer.Options) { o.Map = []placing.Mapping{mapping(t, "docker.io/acme/tool=tool")} },
			want:   blocked{finding.CheckRepository, "HOST/tool", "PROJECT"},
		},
		"robot that may not push": {
			before: func(h *atHarbor) harbortest.Account { return h.s.AddRobot("lab", "imp", harbortest.Pull) },
			want:   blocked{finding.CheckPush, "project lab", "Repository: Push"},
		},
		"person who is no member": {
			before: func(h *atHarbor) harbortest.Account { return h.s.AddUser("ada") },
			want:   blocked{finding.CheckPush, "project lab", "Developer"},
		},
		"proxy cache": {project: harbortest.Project{Name: "lab", ProxyCache: true}, want: blocked{finding.CheckProxyCache, "project lab", "another project"}},
		"private images in a public project": {
			project: harbortest.Project{Name: "lab", Public: true},
			before:  func(h *atHarbor) harbortest.Account { h.private(); return harbortest.Admin },
			want:    blocked{finding.CheckVisibility, "project lab", "docker.io/acme/app:1"},
		},
		"private images in a public project that cannot be looked at": {
			project: harbortest.Project{Name: "lab", Public: true},
			before: func(h *atHarbor) harbortest.Account {
				h.private()
				h.s.Inject(hideProject("lab"))
				return h.s.AddRobot("lab", "imp", harbortest.Push)
			},
			want: blocked{finding.CheckVisibility, "project lab", "--allow-public"},
		},
		"private images in a public project to be": {
			prefix: "new", change: func(o *importer.Options) { o.CreateProjects, o.ProjectPublic = true, true },
			before: func(h *atHarbor) harbortest.Account { h.private(); return harbortest.Admin },
			want:   blocked{finding.CheckVisibility, "project new", "docker.io/acme/app:1"},
		},
		"quota": {project: harbortest.Project{Name: "lab", Quota: 1 << 20}, want: blocked{finding.CheckQuota, "project lab", "Project Quotas"}},
		"quota of a project to be": {
			prefix: "new", change: func(o *importer.Options) { o.CreateProjects, o.ProjectQuota = true, 1<<20 },
			want: blocked{finding.CheckQuota, "project new", "--project-quota"},
		},
		"immutable tag": {
			project: harbortest.Project{Name: "lab", Rules: []harbortest.Rule{{Tag: "2*", Repository: "acme/**"}}},
			before:  func(h *atHarbor) harbortest.Account { h.old("lab/acme/tool", "2"); return harbortest.Admin },
			want:    blocked{finding.CheckImmutable, "HOST/lab/acme/tool:2", "Tag Immutability"},
		},
		"no overwriting": {
			before: func(h *atHarbor) harbortest.Account { h.old("lab/acme/tool", "2"); return harbortest.Admin },
			change: func(o *importer.Options) { o.NoOverwrite = true },
			want:   blocked{finding.CheckOverwrite, "HOST/lab/acme/tool:2", "--no-overwrite"},
		},
		"index that lists a digest twice": {
			before: func(h *atHarbor) harbortest.Account {
				twice := h.Manifest(bundle.MediaTypeOCIIndex, bundle.Manifest{Manifests: []bundle.Descriptor{h.Tool, h.Tool}})
				h.Root("docker.io/acme/twice:1", "acme/twice", "1", twice)
				return harbortest.Admin
			},
			want: blocked{finding.CheckManifest, "", "--only"},
		},
	} {
		t.Run(label, func(t *testing.T) {
			h := newAtHarbor(t)
			project := lab
			if test.project.Name != "" {
				project = test.project
			}
			h.s.AddProject(project)
			who, prefix, change := harbortest.Admin, test.prefix, test.change
			if test.before != nil {
				who = test.before(h)
			}
			if prefix == "" {
				prefix = "lab"
			}
			if change == nil {
				change = func(*importer.Options) {}
			}
			done := h.refused(who, prefix, change)
			blocks := 0
			for _, f := range done.Findings {
				if f.Level != finding.Blocks {
					continue
				}
				blocks++
				if want := strings.Replace(test.want.subject, "HOST", h.s.Host(), 1); f.Check != test.want.check ||
					!strings.Contains(f.Subject, want) || !strings.Contains(f.Message+f.Remedy, test.want.text) {
					t.Errorf("got %+v, want %+v", f, test.want)
				}
			}
			if blocks != 1 {
				t.Errorf("%d findings block, want 1:\n%s", blocks, strings.Join(finding.Lines(done.Findings), "\n"))
			}
			h.refused(who, prefix, change, func(o *importer.Options) { o.DryRun = true })
		})
	}
}

// hideProject keeps a project's settings from an account that does not have the permission for them.
func hideProject(project string) registrytest.Fault {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) bool {
		if r.URL.Path != "/api/v2.0/projects/"+project {
			return false
		}
		return registrytest.Code(http.StatusForbidden, "FORBIDDEN", "forbidden")(w, r, next)
	}
}

func mapping(t *testing.T, text string) placing.Mapping {
	t.Helper()
	m, err := placing.ParseMapping(text)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// old puts another image under a tag.
func (h *atHarbor) old(repo, tag string) bundle.Digest {
	h.t.Helper()
	config := h.s.AddBlob(repo, importtest.ConfigType, []byte(`{"os":"old"}`))
	content := fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":%q,"digest":%q,"size":%d},"layers":[]}`,
		bundle.MediaTypeOCIManifest, config.MediaType, config.Digest, config.Size)
	return h.s.AddManifest(repo, tag, bundle.MediaTypeOCIManifest, content).Digest
}

// TestPreflightFindsEverythingAtOnce: problems of different kinds, of both stages, are in one list, always in one order.
func TestPreflightFindsEverythingAtOnce(t *testing.T) {
	h := newAtHarbor(t)
	h.private()
	h.Root("docker.io/more/small:1", "small/tool", "1", h.Tool)
	h.Root("docker.io/more/immutable:1", "fixed/tool", "1", h.Tool)
	h.s.AddProject(harbortest.Project{Name: "acme", Public: true})
	h.s.AddProject(harbortest.Project{Name: "small", Quota: 1000})
	h.s.AddProject(harbortest.Project{Name: "fixed", Rules: []harbortest.Rule{{}}})
	h.old("fixed/tool", "1")
	first := h.refused(harbortest.Admin, "")
	expectFinding(t, first, finding.Blocks, finding.CheckProject, "project other", "no such project")
	expectFinding(t, first, finding.Blocks, finding.CheckVisibility, "project acme", "it is public")
	expectFinding(t, first, finding.Blocks, finding.CheckQuota, "project small", "has 1000 bytes left")
	expectFinding(t, first, finding.Blocks, finding.CheckImmutable, h.s.Host()+"/fixed/tool:1", "it is immutable")
	for range 3 {
		if again := h.refused(harbortest.Admin, ""); !reflect.DeepEqual(withoutHost(first), withoutHost(again)) {
			t.Errorf("another order:\n%v\n%v", first.Findings, again.Findings)
		}
	}
}

func withoutHost(r *report.Report) []finding.Finding {
	return slices.DeleteFunc(slices.Clone(r.Findings), func(f finding.Finding) bool { return f.Check == finding.CheckClock })
}

// TestQuotaIsCountedAsHarborCounts: what fits to the byte is imported, and one byte less is refused beforehand; what is
// there, in whichever repository, counts for nothing.
func TestQuotaIsCountedAsHarborCounts(t *testing.T) {
	h := newAtHarbor(t)
	h.s.AddProject(harbortest.Project{Name: "lab"})
	h.works(harbortest.Admin, "lab")
	used := h.s.Used("lab")
	for name, quota := range map[string]int64{"too-small": used - 1, "enough": used} {
		h.s.AddProject(harbortest.Project{Name: name, Quota: quota})
	}
	done := h.refused(harbortest.Admin, "too-small")
	expectFinding(t, done, finding.Blocks, finding.CheckQuota, "project too-small", fmt.Sprintf("adds %d bytes", used))
	h.works(harbortest.Admin, "enough")
	if got := h.s.Used("enough"); got != used {
		t.Errorf("%d bytes are used, want %d", got, used)
	}
	h.works(harbortest.Admin, "enough") // nothing is added
	// The shared layer is in one repository of the project, and needed in others.
	h.s.AddProject(harbortest.Project{Name: "partly", Quota: used})
	h.s.AddBlob("partly/acme/tool", importtest.LayerType, h.Blobs[h.Shared.Digest])
	h.works(harbortest.Admin, "partly")
}

// TestQuotaKnowsTheOtherRepositories: what the project has in a repository to which nothing goes counts already, if the
// account may look there.
func TestQuotaKnowsTheOtherRepositories(t *testing.T) {
	h := newAtHarbor(t)
	h.s.AddProject(harbortest.Project{Name: "lab"})
	h.works(harbortest.Admin, "lab")
	used := h.s.Used("lab")
	for label, test := range map[string]struct {
		rights []harbortest.Right
		spare  int64
		words  string // "": it works
	}{
		"may look":           {[]harbortest.Right{harbortest.Push, harbortest.ReadProject, harbortest.ReadQuota, harbortest.ListRepositories}, 0, ""},
		"may look, too much": {[]harbortest.Right{harbortest.Push, harbortest.ReadProject, harbortest.ReadQuota, harbortest.ListRepositories}, -1, fmt.Sprintf("adds %d bytes", used-h.Large.Size-h.Tool.Size)},
		"may not look":       {[]harbortest.Right{harbortest.Push, harbortest.ReadProject, harbortest.ReadQuota}, 0, fmt.Sprintf("adds up to %d bytes", used)},
	} {
		project := "p" + strconv.Itoa(len(label))
		h.s.AddProject(harbortest.Project{Name: project, Quota: used + test.spare})
		h.s.AddBlob(project+"/unrelated/app", importtest.LayerType, h.Blobs[h.Large.Digest])
		h.s.AddManifest(project+"/unrelated/app", "", h.Tool.MediaType, h.Blobs[h.Tool.Digest])
		robot := h.s.AddRobot(project, "imp", test.rights...)
		if test.words == "" {
			h.works(robot, project)
			if h.s.Used(project) != used {
				t.Errorf("%s: %d bytes are used, want %d", label, h.s.Used(project), used)
			}
			continue
		}
		expectFinding(t, h.refused(robot, project), finding.Blocks, finding.CheckQuota, "project "+project, test.words)
	}
}

// TestRobotWithFewRights: what a robot may not see is not checked, is said so, and the import works.
func TestRobotWithFewRights(t *testing.T) {
	h := newAtHarbor(t)
	h.private()
	h.s.AddProject(harbortest.Project{Name: "lab", Rules: []harbortest.Rule{{Tag: "never"}}})
	robot := h.s.AddRobot("lab", "imp", harbortest.Push)
	done := h.works(robot, "lab")
	expectFinding(t, done, finding.Unchecked, finding.CheckQuota, "project lab", "Quota: Read")
	expectFinding(t, done, finding.Unchecked, finding.CheckSettings, "project lab", "Project: Read")
	expectFinding(t, done, finding.Unchecked, finding.CheckGC, h.s.Host(), "Garbage Collection: Read")
	for _, check := range []finding.Check{finding.CheckVisibility, finding.CheckImmutable, finding.CheckPush} {
		expectNone(t, done, finding.Unchecked, check) // strangers are refused, no tag moves, and the token tells
	}
	if warned := strings.Join(h.warns, "\n"); strings.Count(warned, "not checked") != 3 {
		t.Errorf("warnings:\n%s", warned)
	}
	h.old("lab/acme/tool", "2")
	done = h.works(robot, "lab")
	expectFinding(t, done, finding.Unchecked, finding.CheckImmutable, "project lab", "Tag Immutability: List")

	h.s.AddMember("lab", robot, harbortest.ReadProject, harbortest.ReadQuota, harbortest.ListImmutableRules)
	h.s.AddMember(harbortest.TheSystem, robot, harbortest.ReadGC)
	done = h.works(robot, "lab")
	for _, f := range done.Findings {
		if f.Level == finding.Unchecked {
			t.Errorf("not checked, with all rights: %+v", f)
		}
	}
}

// TestPreflightAllows: what only looks like a problem is none.
func TestPreflightAllows(t *testing.T) {
	h := newAtHarbor(t)
	h.private()
	h.s.AddProject(harbortest.Project{Name: "lab", Public: true, Rules: []harbortest.Rule{{}, {Tag: "gone", Disabled: true}}})
	noOverwrite := func(o *importer.Options) { o.AllowPublic, o.NoOverwrite = true, true }
	done := h.works(harbortest.Admin, "lab", noOverwrite)
	expectFinding(t, done, finding.Note, finding.CheckTarget, h.s.Host(), "Harbor v2.14.4")
	expectFinding(t, done, finding.Note, finding.CheckReferrers, h.s.Host(), "acknowledges subjects")
	done = h.works(harbortest.Admin, "lab", noOverwrite) // immutable tags that are right, and referrers and all
	if done.Changed {
		t.Error("something was written")
	}
}

// TestPreflightWarns: what the import survives is said.
func TestPreflightWarns(t *testing.T) {
	type warned struct {
		check finding.Check
		text  string
	}
	for label, test := range map[string]struct {
		settings func(*harbortest.Settings)
		project  harbortest.Project
		ahead    time.Duration
		level    finding.Level
		want     warned
	}{
		"clock":        {ahead: time.Hour, want: warned{finding.CheckClock, "ahead of"}},
		"clock behind": {ahead: -6 * time.Minute, want: warned{finding.CheckClock, "behind"}},
		"before 2.8": {
			settings: func(s *harbortest.Settings) { s.Version = "v2.7.4" },
			want:     warned{finding.CheckVersion, "before 2.8"},
		},
		"before 2.15": {level: finding.Note, want: warned{finding.CheckVersion, "before 2.15"}},
		"before 2.9": {
			settings: func(s *harbortest.Settings) { s.Version = "v2.8.6" },
			level:    finding.Note, want: warned{finding.CheckReferrers, "does not acknowledge"},
		},
		"no version": {
			settings: func(s *harbortest.Settings) { s.Version = "dev" },
			level:    finding.Note, want: warned{finding.CheckReferrers, "shows when something is there"},
		},
		"vulnerable": {project: harbortest.Project{PreventVulnerable: true, Severity: "high"}, want: warned{finding.CheckPullPolicy, "high"}},
		"garbage": {
			settings: func(s *harbortest.Settings) { s.GC = harbortest.GC{Type: "Daily", Cron: "0 0 0 * * *"} },
			level:    finding.Note, want: warned{finding.CheckGC, "Daily 0 0 0 * * *"},
		},
		"untagged garbage": {
			settings: func(s *harbortest.Settings) {
				s.GC = harbortest.GC{Type: "Hourly", Cron: "0 0 * * * *", DeleteUntagged: true, Next: time.Unix(1_700_000_000, 0)}
			},
			want: warned{finding.CheckGC, "next at 2023-11-14T22:13:20Z"},
		},
	} {
		t.Run(label, func(t *testing.T) {
			h := newAtHarbor(t)
			project := test.project
			project.Name = "lab"
			h.s.AddProject(project)
			if test.settings != nil {
				h.s.Change(test.settings)
			}
			h.s.Advance(test.ahead)
			level := test.level
			if level == "" {
				level = finding.Warning
			}
			expectFinding(t, h.dry(harbortest.Admin, "lab"), level, test.want.check, subject(h, test.want.check), test.want.text)
			done := h.works(harbortest.Admin, "lab")
			i := slices.IndexFunc(done.Findings, func(f finding.Finding) bool {
				return f.Level == level && f.Check == test.want.check && strings.Contains(f.Message, test.want.text)
			})
			if i < 0 {
				t.Fatalf("not found: %+v in\n%+v", test.want, done.Findings)
			}
			said := slices.ContainsFunc(h.warns, func(w string) bool { return strings.Contains(w, done.Findings[i].Message) })
			if said != (level == finding.Warning) {
				t.Errorf("said as a warning: %t, %q", said, h.warns)
			}
		})
	}
}

// subject is that of findings of a check of TestPreflightWarns.
func subject(h *atHarbor, check finding.Check) string {
	if check == finding.CheckPullPolicy {
		return "project lab"
	}
	return h.s.Host()
}

// dry is an import that only looks, and must change nothing.
func (h *atHarbor) dry(who harbortest.Account, prefix string, changes ...func(*importer.Options)) *report.Report {
	h.t.Helper()
	before := h.content()
	done, err := h.run(who, prefix, append(changes, func(o *importer.Options) { o.DryRun = true })...)
	if err != nil || done.Changed {
		h.t.Fatal(err)
	}
	if after := h.content(); !reflect.DeepEqual(before, after) {
		h.t.Errorf("something was written:\n%v\n%v", before, after)
	}
	return done
}

// TestPreflightIsNotSure: what cannot be found out is not checked, which is said, and does not keep the import from beginning.
func TestPreflightIsNotSure(t *testing.T) {
	odd := registrytest.Answer(http.StatusTeapot, "")
	forbidden := registrytest.Code(http.StatusForbidden, "FORBIDDEN", "forbidden")
	for label, test := range map[string]struct {
		fault   registrytest.Fault
		prefix  string
		change  func(*importer.Options)
		check   finding.Check
		subject string // "": the target
		text    string
	}{
		"version": {fault: registrytest.On("", "/systeminfo", forbidden), check: finding.CheckTarget, text: "the version"},
		"read-only mode": {
			fault: registrytest.On("", "/systeminfo", registrytest.Answer(http.StatusOK, `{"harbor_version":"v2.14.4"}`, "Content-Type", "application/json")),
			check: finding.CheckReadOnly, text: "read-only",
		},
		"account":   {fault: registrytest.On("", "/users/current", forbidden), check: finding.CheckLogin, text: "who the account is"},
		"existence": {fault: registrytest.On(http.MethodHead, "/api/v2.0/projects", odd), check: finding.CheckProject, subject: "project lab", text: "whether the project exists"},
		"creation": {
			fault: registrytest.On(http.MethodPost, "/api/v2.0/projects", odd), prefix: "absent", change: createProjects,
			check: finding.CheckProject, text: "may create projects",
		},
		"right to push": {check: finding.CheckPush, subject: "project lab", text: "may push"}, // no fault: the token does not tell
		"visibility": {
			fault: registrytest.First(hideProject("lab"), func(w http.ResponseWriter, r *http.Request, next http.Handler) bool {
				return r.Header.Get("Authorization") == "" && r.URL.Path == "/service/token" && odd(w, r, next)
			}),
			check: finding.CheckVisibility, subject: "project lab", text: "while private images go to it",
		},
		"garbage collection": {fault: registrytest.On("", "/gc/schedule", odd), check: finding.CheckGC, text: "whether garbage is collected"},
		"quota":              {fault: registrytest.On("", "/summary", odd), check: finding.CheckQuota, subject: "project lab", text: "what is left"},
	} {
		t.Run(label, func(t *testing.T) {
			h := newAtHarbor(t)
			h.private()
			h.s.AddProject(harbortest.Project{Name: "lab"})
			if test.fault != nil {
				h.s.Inject(test.fault)
			} else {
				h.around = func(t importer.Target) importer.Target { return granting{t, nil} }
			}
			if test.change == nil {
				test.change = func(*importer.Options) {}
			}
			done := h.dry(harbortest.Admin, cmp.Or(test.prefix, "lab"), test.change)
			expectFinding(t, done, finding.Unchecked, test.check, cmp.Or(test.subject, h.s.Host()), test.text)
			if !strings.Contains(strings.Join(h.warns, "\n"), "not checked: ") {
				t.Errorf("it is not said: %q", h.warns)
			}
		})
	}
}

// TestContentTrustIsFound before it hides anything.
func TestContentTrustIsFound(t *testing.T) {
	h := newAtHarbor(t)
	h.s.AddProject(harbortest.Project{Name: "lab", ContentTrust: true, ContentTrustNotary: true})
	done, err := h.run(harbortest.Admin, "lab", func(o *importer.Options) { o.DryRun = true })
	if err != nil {
		t.Fatal(err)
	}
	expectFinding(t, done, finding.Warning, finding.CheckPullPolicy, "project lab", "signatures of cosign")
	expectFinding(t, done, finding.Warning, finding.CheckPullPolicy, "project lab", "signatures of Notary")
	if len(h.s.Repositories()) > 0 {
		t.Error("a dry run wrote something")
	}
}

func TestCreateProjects(t *testing.T) {
	h := newAtHarbor(t)
	before := h.content()
	done, err := h.run(harbortest.Admin, "", createProjects, func(o *importer.Options) { o.DryRun = true })
	planned := []projects.Row{{Project: "acme", Status: projects.Planned}, {Project: "other", Status: projects.Planned}}
	if err != nil || !reflect.DeepEqual(done.Projects, planned) || !reflect.DeepEqual(before, h.content()) {
		t.Fatalf("%v, %+v", err, done.Projects)
	}
	expectFinding(t, done, finding.Note, finding.CheckProject, "project acme", "will be created, private")
	done = h.works(harbortest.Admin, "", createProjects, func(o *importer.Options) { o.ProjectQuota = 50 << 20 })
	for i, name := range []string{"acme", "other"} {
		if got := h.s.Project(name); got.Public || got.Quota != 50<<20 {
			t.Errorf("%+v", got)
		}
		if want := (projects.Row{Project: name, Quota: 50 << 20, Status: projects.Created}); done.Projects[i] != want {
			t.Errorf("%+v", done.Projects[i])
		}
	}
	if !done.Changed || h.s.Tags("acme/tool")["2"] != h.Tool.Digest {
		t.Errorf("changed %t, %v", done.Changed, h.s.Tags("acme/tool"))
	}
	done = h.works(harbortest.Admin, "public", createProjects, func(o *importer.Options) { o.ProjectPublic = true })
	if !h.s.Project("public").Public || !done.Projects[0].Public {
		t.Errorf("%+v", h.s.Project("public"))
	}
}

// race creates a project by somebody else's hand when the import is about to.
func (h *atHarbor) race(settings harbortest.Project) {
	h.s.Inject(func(_ http.ResponseWriter, r *http.Request, _ http.Handler) bool {
		created := slices.Contains(h.s.Projects(), settings.Name)
		// The first POST is the question whether projects may be created.
		if r.Method == http.MethodPost && r.URL.Path == "/api/v2.0/projects" && h.s.Count("POST", "/api/v2.0/projects") > 1 && !created {
			h.s.AddProject(settings)
		}
		return false
	})
}

// TestCreateProjectsRace: a project that somebody else has made meanwhile is as good, and is looked at.
func TestCreateProjectsRace(t *testing.T) {
	h := newAtHarbor(t)
	h.race(harbortest.Project{Name: "new"})
	done := h.works(harbortest.Admin, "new", createProjects)
	if done.Projects[0].Status != projects.Present {
		t.Errorf("%+v", done.Projects)
	}
	for label, settings := range map[string]harbortest.Project{
		"it is public": {Name: "new", Public: true}, "its quota has 1000 bytes left": {Name: "new", Quota: 1000}, "proxy cache": {Name: "new", ProxyCache: true},
	} {
		h := newAtHarbor(t)
		h.private()
		h.race(settings)
		done, err := h.run(harbortest.Admin, "new", createProjects)
		if err == nil || !strings.Contains(err.Error(), label) || len(h.s.Repositories()) > 0 || h.s.Used("new") > 0 || done.Complete {
			t.Errorf("%s: %v", label, err)
		}
	}
}

// TestRobotThatMayCreateAndNotPush is warned before, and stopped when it is known, before anything is pushed.
func TestRobotThatMayCreateAndNotPush(t *testing.T) {
	h := newAtHarbor(t)
	robot := h.s.AddSystemRobot("maker", map[string][]harbortest.Right{harbortest.TheSystem: {harbortest.CreateProject}})
	done, err := h.run(robot, "new", createProjects)
	if !errors.Is(err, registry.ErrForbidden) || errors.Is(err, finding.ErrBlocked) {
		t.Fatal(err)
	}
	for _, text := range []string{"created and are empty: new", "may not push", "Repository: Push"} {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("%q is not in: %v", text, err)
		}
	}
	expectFinding(t, done, finding.Warning, finding.CheckPush, "project new", "becomes no member")
	if len(h.warns) == 0 || done.Projects[0].Status != projects.Created || !done.Changed || len(h.s.Repositories()) > 0 || h.s.Uploads() > 0 || h.s.Used("new") > 0 {
		t.Errorf("%q, %+v, %v", h.warns, done.Projects, h.s.Repositories())
	}

	both := h.s.AddSystemRobot("both", map[string][]harbortest.Right{
		harbortest.TheSystem: {harbortest.CreateProject}, harbortest.AllProjects: {harbortest.Push},
	})
	done = h.works(both, "newer", createProjects)
	expectFinding(t, done, finding.Unchecked, finding.CheckQuota, "project newer", "quota")

	// Later versions do not tell the robot whether a project is there.
	h.s.Change(func(set *harbortest.Settings) { set.HeadForMembers = true })
	h.works(both, "newest", createProjects)
	h.works(both, "newest", createProjects)

	// Where everybody may create projects, that is every robot of the system, and it gets no rights in them either.
	anyone := h.s.AddSystemRobot("any", map[string][]harbortest.Right{harbortest.AllProjects: {harbortest.ReadProject}})
	done, err = h.run(anyone, "theirs", createProjects)
	if !errors.Is(err, registry.ErrForbidden) || !strings.Contains(err.Error(), "created and are empty: theirs") || h.s.Used("theirs") > 0 {
		t.Errorf("%v", err)
	}
	expectFinding(t, done, finding.Warning, finding.CheckPush, "project theirs", "becomes no member")
}

// TestQuotaThatHarborDoesNotSet: from others than administrators Harbor takes none.
func TestQuotaThatHarborDoesNotSet(t *testing.T) {
	h := newAtHarbor(t)
	done := h.works(h.s.AddUser("ada"), "new", createProjects, func(o *importer.Options) { o.ProjectQuota = 50 << 20 })
	expectFinding(t, done, finding.Warning, finding.CheckQuota, "project new", "has not given it the quota")
}

// TestNoOverwriteHoldsWhenTagsMove: a tag that somebody makes during the import stays.
func TestNoOverwriteHoldsWhenTagsMove(t *testing.T) {
	h := newAtHarbor(t)
	h.s.AddProject(harbortest.Project{Name: "lab"})
	var theirs bundle.Digest
	h.s.Inject(func(_ http.ResponseWriter, r *http.Request, _ http.Handler) bool {
		if r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/manifests/sha256:") && theirs.IsZero() {
			theirs = h.old("lab/acme/tool", "2")
		}
		return false
	})
	_, err := h.run(harbortest.Admin, "lab", func(o *importer.Options) { o.NoOverwrite, o.Jobs = true, 1 })
	if !errors.Is(err, target.ErrConflict) || theirs.IsZero() || h.s.Tags("lab/acme/tool")["2"] != theirs {
		t.Errorf("%v, %v", err, h.s.Tags("lab/acme/tool"))
	}
}

// TestNoOverwriteOfCosignTags: they are conflicts by themselves, unless they may be overwritten.
func TestNoOverwriteOfCosignTags(t *testing.T) {
	h := newAtHarbor(t)
	h.s.AddProject(harbortest.Project{Name: "lab"})
	tag := h.Index.Digest.FallbackTag() + ".sig"
	h.old("lab/acme/app", tag)
	noOverwrite := func(o *importer.Options) { o.NoOverwrite = true }
	if _, err := h.run(harbortest.Admin, "lab", noOverwrite); !errors.Is(err, target.ErrConflict) || errors.Is(err, finding.ErrBlocked) {
		t.Error(err)
	}
	overwrite := func(o *importer.Options) { o.OverwriteCosignTags = true }
	done := h.refused(harbortest.Admin, "lab", noOverwrite, overwrite)
	expectFinding(t, done, finding.Blocks, finding.CheckOverwrite, h.s.Host()+"/lab/acme/app:"+tag, "would move it")
	h.works(harbortest.Admin, "lab", overwrite)
}

// TestPreflightAtAnUnreachableHarbor: outages are no findings.
func TestPreflightAtAnUnreachableHarbor(t *testing.T) {
	for _, path := range []string{"/users/current", "/systeminfo", "/gc/schedule", "/api/v2.0/projects", "/summary", "/immutabletagrules", "/service/token"} {
		h := newAtHarbor(t)
		h.s.AddProject(harbortest.Project{Name: "lab"})
		h.s.Inject(registrytest.On("", path, registrytest.Answer(http.StatusBadGateway, "<html>")))
		done, err := h.run(harbortest.Admin, "lab")
		if !errors.Is(err, registry.ErrUnavailable) || errors.Is(err, finding.ErrBlocked) || len(h.s.Repositories()) > 0 || done.Complete {
			t.Errorf("%s: %v", path, err)
		}
	}
}

// elsewhere is a target that has the name of another host.
type elsewhere struct {
	importer.Target
	host name.Registry
}

func (e elsewhere) repo(r name.Repository) name.Repository {
	return e.host.Repo(strings.Split(r.RepositoryStr(), "/")...)
}

func (e elsewhere) ref(r name.Reference) name.Reference {
	if d, ok := r.(name.Digest); ok {
		return e.repo(d.Context()).Digest(d.DigestStr())
	}
	return e.repo(r.Context()).Tag(r.Identifier())
}

func (e elsewhere) Clock(ctx context.Context, _ name.Registry) (time.Time, error) {
	return e.Target.Clock(ctx, e.host)
}

func (e elsewhere) Granted(ctx context.Context, r name.Repository) ([]string, bool, error) {
	return e.Target.Granted(ctx, e.repo(r))
}

func (e elsewhere) Resolve(ctx context.Context, r name.Reference) (bundle.Descriptor, error) {
	return e.Target.Resolve(ctx, e.ref(r))
}

func (e elsewhere) Manifest(ctx context.Context, r name.Reference) (bundle.Descriptor, []byte, error) {
	return e.Target.Manifest(ctx, e.ref(r))
}

func (e elsewhere) HasTags(ctx context.Context, r name.Repository) (bool, error) {
	return e.Target.HasTags(ctx, e.repo(r))
}

func (e elsewhere) HasBlob(ctx context.Context, r name.Repository, d bundle.Digest) (int64, bool, error) {
	return e.Target.HasBlob(ctx, e.repo(r), d)
}

func (e elsewhere) Tags(ctx context.Context, r name.Repository) ([]string, error) {
	return e.Target.Tags(ctx, e.repo(r))
}

// TestHostedRegistries: repositories that must be there first, by the documentation of who runs the registry.
func TestHostedRegistries(t *testing.T) {
	ecr := "123456789012.dkr.ecr.eu-west-1.amazonaws.com"
	for label, test := range map[string]struct {
		destination   string
		code, message string
		want          []string // commands or subjects; none: nothing is in the way
	}{
		"ECR": {ecr + "/mirror", "NAME_UNKNOWN", "The repository with name 'mirror/acme/app' does not exist in the registry with id '123456789012'", []string{
			"aws ecr create-repository --repository-name mirror/acme/app --region eu-west-1",
			"aws ecr create-repository --repository-name mirror/other/app --region eu-west-1",
			"aws ecr create-repository --repository-name mirror/airgap --region eu-west-1", // for the record
		}},
		"ECR, repository is there": {ecr + "/mirror", "MANIFEST_UNKNOWN", "Requested image not found", nil},
		"Artifact Registry": {"europe-docker.pkg.dev/proj/repo", "NAME_UNKNOWN", `Repository "repo" not found`, []string{
			"gcloud artifacts repositories create repo --repository-format=docker --location=europe --project=proj",
		}},
		"Artifact Registry, image is new":   {"europe-docker.pkg.dev/proj/repo", "NAME_UNKNOWN", "Requested entity was not found.", nil},
		"Artifact Registry, path too short": {"europe-docker.pkg.dev", "MANIFEST_UNKNOWN", "", []string{"PROJECT/REPOSITORY/IMAGE"}},
		"GHCR":                              {"ghcr.io/me", "NAME_UNKNOWN", "", nil},
		"another":                           {"registry.example.com", "NAME_UNKNOWN", "", nil},
	} {
		t.Run(label, func(t *testing.T) {
			a := importtest.NewAcme(t)
			if strings.HasPrefix(label, "ECR") {
				a.Number("acme", 1)
			}
			s := registrytest.New(t)
			s.Inject(registrytest.On("", "/v2/", func(w http.ResponseWriter, r *http.Request, next http.Handler) bool {
				if r.URL.Path == "/v2/" {
					return false
				}
				return registrytest.Code(http.StatusNotFound, test.code, test.message)(w, r, next)
			}))
			host, err := name.NewRegistry(s.Host())
			if err != nil {
				t.Fatal(err)
			}
			o := options(t, s)
			o.DryRun = true
			if o.Destination, err = placing.ParseDestination(test.destination); err != nil {
				t.Fatal(err)
			}
			done, err := importer.Run(t.Context(), importtest.Open(t, a.File()), elsewhere{importtest.Client(), host}, o)
			if errors.Is(err, finding.ErrBlocked) != (len(test.want) > 0) || len(test.want) == 0 && err != nil || len(importtest.Writes(s)) > 0 {
				t.Fatalf("%v, %q", err, importtest.Writes(s))
			}
			for _, text := range test.want {
				if !strings.Contains(err.Error(), text) || !slices.ContainsFunc(done.Findings, func(f finding.Finding) bool {
					return f.Check == finding.CheckRepository && strings.Contains(f.Message+f.Remedy, text)
				}) {
					t.Errorf("%q is not in: %v", text, err)
				}
			}
		})
	}
	a := importtest.NewAcme(t)
	s := registrytest.New(t)
	o := options(t, s)
	o.Map = []placing.Mapping{mapping(t, "docker.io/acme/tool=tool")}
	var err error
	if o.Destination, err = placing.ParseDestination("ghcr.io/me"); err != nil {
		t.Fatal(err)
	}
	host, _ := name.NewRegistry(s.Host())
	_, err = importer.Run(t.Context(), importtest.Open(t, a.File()), elsewhere{importtest.Client(), host}, o)
	if !errors.Is(err, finding.ErrBlocked) || !strings.Contains(err.Error(), "OWNER/IMAGE") || len(importtest.Writes(s)) > 0 {
		t.Errorf("%v", err)
	}
}

// TestReferrersOfOtherRegistriesAreProbed once something is there.
func TestReferrersOfOtherRegistriesAreProbed(t *testing.T) {
	for label, want := range map[string]string{"referrers API": "it has the referrers API", "fallback tags": "fallback tags, sha256-"} {
		w := importtest.NewWorld(t)
		tool := w.Image("tool", w.Layer(1000))
		w.Root("docker.io/acme/tool:1", "acme/tool", "1", tool)
		s := registrytest.New(t, targets[label]...)
		path := w.File()
		for range 2 {
			done, err := importer.Run(t.Context(), importtest.Open(t, path), importtest.Client(), options(t, s))
			if err != nil {
				t.Fatal(err)
			}
			if done.Changed {
				expectFinding(t, done, finding.Note, finding.CheckReferrers, s.Host(), "shows when something is there")
			} else {
				expectFinding(t, done, finding.Note, finding.CheckReferrers, s.Host(), want)
			}
		}
	}
}

// granting is a target whose token service grants something else, or with nil does not tell.
type granting struct {
	importer.Target
	actions []string
}

func (g granting) Granted(context.Context, name.Repository) ([]string, bool, error) {
	return g.actions, g.actions != nil, nil
}

// TestRobotThatMayNotPull cannot read back what it pushed, which it is told beforehand.
func TestRobotThatMayNotPull(t *testing.T) {
	a := importtest.NewAcme(t)
	s := acmeHarbor(t)
	c := importtest.HarborClient(t, harbortest.Admin)
	done, err := importer.Run(t.Context(), importtest.Open(t, a.File()), granting{c, []string{"push"}}, intoHarbor(t, s, c))
	if !errors.Is(err, finding.ErrBlocked) || len(s.Writes()) > 0 {
		t.Fatalf("%v, %v", err, s.Writes())
	}
	expectFinding(t, done, finding.Blocks, finding.CheckPush, "project acme", "may not pull")
}

// TestAccountThatMayNotPush to another registry is told so beforehand, unless nothing is to be written.
func TestAccountThatMayNotPush(t *testing.T) {
	a := importtest.NewAcme(t)
	path := a.File()
	s := registrytest.New(t)
	o := options(t, s)
	done, err := importer.Run(t.Context(), importtest.Open(t, path), granting{importtest.Client(), []string{"pull"}}, o)
	if !errors.Is(err, finding.ErrBlocked) || len(importtest.Writes(s)) > 0 {
		t.Fatalf("%v, %v", err, importtest.Writes(s))
	}
	expectFinding(t, done, finding.Blocks, finding.CheckPush, s.Host()+"/mirror/acme/tool", "airgap login "+s.Host())
	for _, actions := range [][]string{{"*"}, {"pull"}} {
		if _, err := importer.Run(t.Context(), importtest.Open(t, path), granting{importtest.Client(), actions}, o); err != nil {
			t.Errorf("%v: %v", actions, err)
		}
	}
}
