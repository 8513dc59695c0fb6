package harbor

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// recorded returns the bodies among the recorded exchanges that are JSON and have a part.
func recorded(t testing.TB, part string) []string {
	t.Helper()
	files, err := filepath.Glob("testdata/exchanges/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no recorded exchanges", err)
	}
	var bodies []string
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			body := strings.TrimSpace(line)
			if (strings.HasPrefix(body, "{") || strings.HasPrefix(body, "[")) && strings.Contains(body, part) {
				bodies = append(bodies, body)
			}
		}
	}
	if len(bodies) == 0 {
		t.Fatalf("nothing recorded has %s", part)
	}
	return bodies
}

// Answers that were not recorded, by the API's description.
const (
	rulesBody = `[{"action":"immutable","disabled":false,"id":1,"params":{},"scope_selectors":{"repository":[{"decoration":"repoMatches",` +
		`"kind":"doublestar","pattern":"**"}]},"tag_selectors":[{"decoration":"matches","kind":"doublestar","pattern":"v*"}],"template":"immutable_template"}]`
	gcBody = `{"creation_time":"2026-11-20T18:13:21.462Z","deleted":false,"id":3,"job_kind":"0 0 0 * * *",` +
		`"job_parameters":"{\"delete_untagged\":true,\"dry_run\":false,\"time_window\":2,\"workers\":1}",` +
		`"schedule":{"cron":"0 0 0 * * *","next_scheduled_time":"2026-11-21T00:00:00.000Z","type":"Daily"},"update_time":"2026-11-20T18:13:21.462Z"}`
)

// fuzz runs a parser over what it was made for and whatever comes of that. What it accepts must hold check.
func fuzz[T any](f *testing.F, seeds []string, parse func([]byte) (T, error), check func(*testing.T, T)) {
	for _, seed := range seeds {
		f.Add([]byte(seed))
	}
	f.Add([]byte(""))
	f.Add([]byte("null"))
	f.Add([]byte(`{"errors":[{"code":"FORBIDDEN","message":"forbidden"}]}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		value, err := parse(body)
		if err == nil {
			check(t, value)
		}
	})
}

func FuzzSystem(f *testing.F) {
	fuzz(f, recorded(f, "harbor_version"), parseSystem, func(t *testing.T, s System) {
		if !s.Known && (s.ReadOnly || s.ProjectCreation != "") {
			t.Errorf("%+v", s)
		}
		s.AtLeast(2, 15)
	})
}

func FuzzAccount(f *testing.F) {
	fuzz(f, recorded(f, `"sysadmin_flag"`), parseAccount, func(t *testing.T, a Account) {
		if a.Robot {
			t.Errorf("%+v", a)
		}
	})
}

func FuzzProject(f *testing.F) {
	fuzz(f, recorded(f, `"metadata":{`), parseProject, func(*testing.T, Project) {})
}

func FuzzSummary(f *testing.F) {
	parse := func(body []byte) (Quota, error) {
		quota, _, err := parseSummary(body)
		return quota, err
	}
	fuzz(f, recorded(f, `"quota":`), parse, func(t *testing.T, q Quota) {
		if q.Used < 0 || q.Hard < Unlimited || q.Left() < Unlimited {
			t.Errorf("%+v", q)
		}
	})
}

func FuzzArtifact(f *testing.F) {
	seeds := []string{}
	for _, body := range recorded(f, `"manifest_media_type"`) {
		seeds = append(seeds, body, strings.TrimSuffix(strings.TrimPrefix(body, "["), "]"))
	}
	fuzz(f, seeds, parseArtifact, func(t *testing.T, a Artifact) {
		for _, tag := range a.Tags {
			if strings.ContainsAny(tag.Name, "\n/ ") {
				t.Errorf("tag %q", tag.Name)
			}
		}
	})
}

func FuzzArtifacts(f *testing.F) {
	fuzz(f, recorded(f, `[{"accessories"`), parseArtifacts, func(*testing.T, []Artifact) {})
}

func FuzzAccessories(f *testing.F) {
	fuzz(f, recorded(f, "subject_artifact_digest"), parseAccessories, func(*testing.T, []Accessory) {})
}

func FuzzRules(f *testing.F) {
	fuzz(f, []string{rulesBody, "[]"}, parseRules, func(t *testing.T, rules []ImmutableRule) {
		for _, rule := range rules {
			rule.Matches("team/web", "v1")
			if rule.String() == "" {
				t.Error("a rule that is not described")
			}
		}
	})
}

func FuzzGC(f *testing.F) {
	fuzz(f, []string{gcBody, strings.Replace(gcBody, "2026-11-21", "0001-01-01", 1), "{}"}, parseGC, func(*testing.T, GCSchedule) {})
}

func FuzzDoublestar(f *testing.F) {
	for _, pattern := range []string{"**", "v*", "{a,b}/**", "[^a-c]?", `\*`} {
		f.Add(pattern, "team/web")
	}
	f.Fuzz(func(t *testing.T, pattern, text string) {
		if _, err := matchPattern(pattern, text); err != nil {
			return
		}
		// No pattern loses what it matched for having another beside it.
		one, _ := matchPattern(pattern, text)
		if either, err := matchPattern("{"+pattern+",x}", text); err == nil && one && !either && !strings.ContainsAny(pattern, `{},\[]`) {
			t.Errorf("%q matches %q, and with x does not", pattern, text)
		}
	})
}

func FuzzRepositories(f *testing.F) {
	fuzz(f, []string{`[{"artifact_count":1,"id":12,"name":"mks/app"}]`, "[]"}, parseRepositories, func(*testing.T, []string) {})
}
