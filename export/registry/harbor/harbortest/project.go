package harbortest

import (
	"cmp"
	"fmt"
	"regexp"
	"strings"
	"time"
)

// Project is a project's settings.
type Project struct {
	Name   string
	Public bool
	Quota  int64 // bytes; 0 is no limit
	Rules  []Rule
	// ContentTrust and ContentTrustNotary hide what is not signed from HEAD and GET.
	ContentTrust, ContentTrustNotary bool
	PreventVulnerable                bool // is shown, and has no effect: nothing here is ever scanned
	Severity                         string
	AutoScan                         bool // is shown, and has no effect
	ProxyCache                       bool
}

// Rule makes tags immutable. Patterns are those of doublestar, without character classes; an empty one matches all.
type Rule struct {
	Tag, Repository                 string
	TagExcludes, RepositoryExcludes bool // those that do not match
	Disabled                        bool
}

// project is a project with what is in it.
type project struct {
	Project
	id      int
	owner   *account
	made    time.Time
	counted map[string]int64           // sizes by digest, of what counts against the quota
	repos   map[string]*repository     // by name without the project
	linked  map[string]map[string]bool // digests of the blobs that the registry has in a repository, which outlast it
}

// AddProject adds a project.
func (s *Server) AddProject(settings Project) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.newProject(settings, s.accounts[Admin.Name])
}

// ChangeProject changes a project's settings.
func (s *Server) ChangeProject(name string, change func(*Project)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(&s.projects[name].Project)
}

func (s *Server) newProject(settings Project, owner *account) *project {
	p := &project{
		Project: settings, id: s.id("project"), owner: owner, made: s.now(),
		counted: map[string]int64{}, repos: map[string]*repository{}, linked: map[string]map[string]bool{},
	}
	s.projects[p.Name] = p
	return p
}

// used is how many bytes the project has: each digest counts once, in whatever repositories it is.
func (p *project) used() int64 {
	var sum int64
	for _, size := range p.counted {
		sum += size
	}
	return sum
}

// limit is the quota as the API shows it.
func (p *project) limit() int64 { return cmp.Or(p.Quota, -1) }

// over returns the refusal of size more bytes, or nil if they fit.
func (p *project) over(size int64) *answer {
	used := p.used()
	if size <= 0 || p.Quota <= 0 || used+size <= p.Quota {
		return nil
	}
	a := refuse(403, problem{Code: "DENIED", Message: fmt.Sprintf(
		"adding %s of storage resource, which when updated to current usage of %s will exceed the configured upper limit of %s.",
		formatBytes(size), formatBytes(used), formatBytes(p.Quota),
	)})
	return &a
}

func formatBytes(n int64) string {
	if n < 1024 {
		return fmt.Sprintf("%d B", n)
	}
	value, unit := float64(n)/1024, 0
	for ; value >= 1024; unit++ {
		value /= 1024
	}
	return fmt.Sprintf("%.1f %ciB", value, "KMGTPE"[unit])
}

// link makes a blob part of a repository.
func (p *project) link(repository, digest string) {
	if p.linked[repository] == nil {
		p.linked[repository] = map[string]bool{}
	}
	p.linked[repository][digest] = true
}

// immutable tells whether a rule is for that tag.
func (p *project) immutable(repository, tag string) bool {
	for _, r := range p.Rules {
		if !r.Disabled && matches(r.Repository, repository) != r.RepositoryExcludes && matches(r.Tag, tag) != r.TagExcludes {
			return true
		}
	}
	return false
}

// matches is doublestar by way of a regular expression; the importer has its own.
func matches(pattern, text string) bool {
	if pattern == "" {
		return true
	}
	var b strings.Builder
	for rest := pattern; rest != ""; {
		switch {
		case strings.HasPrefix(rest, "**/"):
			b.WriteString(`(?:.*/)?`)
			rest = rest[3:]
		case strings.HasPrefix(rest, "**"):
			b.WriteString(`.*`)
			rest = rest[2:]
		default:
			b.WriteString(translate(rest[0]))
			rest = rest[1:]
		}
	}
	return regexp.MustCompile(`^(?:` + b.String() + `)$`).MatchString(text)
}

func translate(c byte) string {
	switch c {
	case '*':
		return `[^/]*`
	case '?':
		return `[^/]`
	case '{':
		return `(?:`
	case '}':
		return `)`
	case ',':
		return `|`
	}
	return regexp.QuoteMeta(string(c))
}
