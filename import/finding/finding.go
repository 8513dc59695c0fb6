// Package finding is what the preflight finds out about a target: a List of Findings as it grows, their order, and how they
// are told to people.
package finding

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"airgap/bundle"
	"airgap/export/registry/harbor"
	"airgap/import/target"
)

// ErrBlocked: something at the target would make the import fail. It was found before anything was written.
var ErrBlocked = errors.New("the preflight found something in the way")

// Level says what a finding means for the import.
type Level string

// The values of Level.
const (
	Blocks    Level = "blocks"    // the import would fail, and is not begun
	Warning   Level = "warning"   // it can succeed, and somebody should know
	Unchecked Level = "unchecked" // this account may not see it: it may be fine, or block
	Note      Level = "note"
)

var levels = []Level{Blocks, Warning, Unchecked, Note}

// Check is what a finding is about.
type Check string

// The values of Check.
const (
	CheckTarget     Check = "target"          // what it is
	CheckLogin      Check = "login"           // whether it takes the account
	CheckReadOnly   Check = "read-only"       // whether anybody can write
	CheckClock      Check = "clock"           // whether it has the same time
	CheckVersion    Check = "version"         // what its version means for signatures
	CheckRepository Check = "repository"      // whether it takes a repository of that name
	CheckProject    Check = "project"         // whether it exists, or can be created
	CheckSettings   Check = "settings"        // of a project
	CheckPush       Check = "push"            // the right to
	CheckProxyCache Check = "proxy-cache"     // a project that nobody can push to
	CheckVisibility Check = "visibility"      // private images in a public project
	CheckPullPolicy Check = "pull-policy"     // what a project hides after it was pushed
	CheckQuota      Check = "quota"           // of a project
	CheckManifest   Check = "manifest"        // one that the target refuses for good
	CheckImmutable  Check = "immutable-tag"   // one that would move
	CheckOverwrite  Check = "overwrite"       // a tag that would move, where none may
	CheckGC         Check = "garbage-collect" // what may be deleted during the import
	CheckReferrers  Check = "referrers"       // how the target lists them
	CheckRecord     Check = "record"          // of what was imported before
)

var checks = []Check{
	CheckTarget, CheckLogin, CheckReadOnly, CheckClock, CheckVersion, CheckRepository, CheckProject, CheckSettings, CheckPush,
	CheckProxyCache, CheckVisibility, CheckPullPolicy, CheckQuota, CheckManifest, CheckImmutable, CheckOverwrite, CheckGC, CheckReferrers, CheckRecord,
}

// Finding is something that the preflight found out about the target.
type Finding struct {
	Check   Check  `json:"check"`
	Subject string `json:"subject"` // what it is about: the target, "project x", an image, a tag
	Level   Level  `json:"level"`
	Message string `json:"message"`
	Remedy  string `json:"remedy,omitempty"` // what to do about it
}

// compareFindings orders findings: what blocks comes first, then as things are checked.
func compareFindings(a, b Finding) int {
	return cmp.Or(
		cmp.Compare(slices.Index(levels, a.Level), slices.Index(levels, b.Level)),
		cmp.Compare(slices.Index(checks, a.Check), slices.Index(checks, b.Check)),
		cmp.Compare(a.Message, b.Message), cmp.Compare(a.Remedy, b.Remedy), cmp.Compare(a.Subject, b.Subject),
	)
}

// maxFindings bounds how many findings of one check and level are kept: nobody reads more, and a bundle may have a
// million tags.
const maxFindings = 1000

// List is the list as it grows. It is safe for concurrent use.
type List struct {
	mu    sync.Mutex
	list  []Finding
	seen  map[Finding]bool
	count map[findingKind]int // also of what is not in the list
}

type findingKind struct {
	check Check
	level Level
}

// Add adds what was not found before.
func (f *List) Add(found Finding) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.seen == nil {
		f.seen, f.count = map[Finding]bool{}, map[findingKind]int{}
	}
	if f.seen[found] {
		return
	}
	of := findingKind{found.Check, found.Level}
	f.count[of]++
	if f.count[of] <= maxFindings {
		f.seen[found], f.list = true, append(f.list, found)
	}
}

// Note adds what is good to know.
func (f *List) Note(check Check, subject, message string) {
	f.Add(Finding{Check: check, Subject: subject, Level: Note, Message: message})
}

// Warn adds what somebody should know, and do something about.
func (f *List) Warn(check Check, subject, message, remedy string) {
	f.Add(Finding{Check: check, Subject: subject, Level: Warning, Message: message, Remedy: remedy})
}

// Block adds what keeps the import from beginning.
func (f *List) Block(check Check, subject, message, remedy string) {
	f.Add(Finding{Check: check, Subject: subject, Level: Blocks, Message: message, Remedy: remedy})
}

// Unchecked adds what could not be found out, because of err; nil: the target does not say. It returns err where nothing else
// would be answered either.
func (f *List) Unchecked(ctx context.Context, check Check, subject, what, remedy string, err error) error {
	if target.IsFinal(ctx, err) {
		return err
	}
	reason := "the target does not say"
	switch {
	case errors.Is(err, harbor.ErrNotAllowed):
		reason = "this account may not see it"
	case err != nil:
		reason = bundle.OneLine(err)
	}
	f.Add(Finding{Check: check, Subject: subject, Level: Unchecked, Message: what + " (" + reason + ")", Remedy: remedy})
	return nil
}

// All returns the findings in their order.
func (f *List) All() []Finding {
	f.mu.Lock()
	defer f.mu.Unlock()
	list := slices.Clone(f.list)
	for of, n := range f.count {
		if more := n - maxFindings; more > 0 {
			list = append(list, Finding{Check: of.check, Level: of.level, Message: fmt.Sprintf("there are %d more findings of this kind", more)})
		}
	}
	slices.SortFunc(list, compareFindings)
	return list
}

// OfLevel returns those of the given levels.
func OfLevel(list []Finding, levels ...Level) []Finding {
	return slices.DeleteFunc(slices.Clone(list), func(f Finding) bool { return !slices.Contains(levels, f.Level) })
}

// MaxSubjects is how many subjects one line names.
const MaxSubjects = 5

// Lines returns the findings as lines for people, those that differ in nothing but their subjects in one.
func Lines(list []Finding) []string {
	var lines []string
	sorted := slices.SortedFunc(slices.Values(list), compareFindings)
	for start := 0; start < len(sorted); {
		end := start + 1
		for end < len(sorted) && differOnlyInSubject(sorted[start], sorted[end]) {
			end++
		}
		lines, start = append(lines, line(sorted[start:end])), end
	}
	return lines
}

func differOnlyInSubject(a, b Finding) bool {
	a.Subject = b.Subject
	return a == b
}

func line(run []Finding) string {
	var subjects []string
	for _, f := range run[:min(len(run), MaxSubjects)] {
		if f.Subject != "" {
			subjects = append(subjects, f.Subject)
		}
	}
	var b strings.Builder
	b.WriteString(strings.Join(subjects, ", "))
	if left := len(run) - MaxSubjects; left > 0 {
		fmt.Fprintf(&b, " and %d more", left)
	}
	if b.Len() > 0 {
		b.WriteString(": ")
	}
	if run[0].Level == Unchecked {
		b.WriteString("not checked: ")
	}
	b.WriteString(run[0].Message)
	if run[0].Remedy != "" {
		b.WriteString("; " + run[0].Remedy)
	}
	return b.String()
}

// Blocking returns an error that lists what blocks, or nil.
func Blocking(list []Finding) error {
	if problems := Problems(OfLevel(list, Blocks)); problems != nil {
		return errors.Join(ErrBlocked, problems)
	}
	return nil
}

// Problems returns findings as one error with a line for each of Lines, or nil.
func Problems(list []Finding) error {
	var problems bundle.Problems
	for _, text := range Lines(list) {
		problems.Add(errors.New(text))
	}
	return problems.Err()
}
