// Package config reads the file that says what to mirror: a regsync.yaml as it is used with regclient's regsync
// (https://regclient.org/usage/regsync/), with a few keys of airgap's own.
//
// [Parse] checks a file and says what it means. It contacts nobody, and evaluates no credential: [Credential.Evaluate]
// does that for the registries that an export turns out to need, since the file also has the target's secret, which is
// not on this side of the gap.
//
// Where airgap differs from regsync: everything that refers to an image is carried unless the file says otherwise in so
// many words; a platform leads to an index and never to a bare manifest; a missing variable or file in a credential is an
// error. Everything else means what it means there.
package config

import (
	"errors"
	"fmt"
	"time"

	"github.com/google/go-containerregistry/pkg/name"

	"airgap/bundle/yaml"
	"airgap/export"
)

// ErrConfig: something in the file is wrong. The error says what, with file, line and column.
var ErrConfig = errors.New("the configuration is wrong")

// MaxSize bounds a file, in bytes.
const MaxSize = 1 << 20

// Environment is the world that templates ask about.
type Environment struct {
	LookupEnv func(name string) (value string, isSet bool)
	ReadFile  func(name string) ([]byte, error)
	Now       func() time.Time
}

// Position is a place in a file.
type Position = yaml.Position

// Note is something that a person should know about a file that is not wrong.
type Note struct {
	Position Position
	Message  string
	Unknown  bool // it is about a key that nobody knows
}

// File is what a file says.
type File struct {
	Name             string
	Mirror           string // the series of bundles that an export belongs to; "" where the file does not say
	Policy           string // the file that says whom to trust (verify/policy/POLICY.md), beside this one; "" where the file does not say
	Content          []byte // as it was parsed
	Creds            []Credential
	Parallel         int // 0 where the file does not say
	UserAgent        string
	SkipDockerConfig bool
	Entries          []Entry
	Charts           []Chart
	Notes            []Note
}

// Kind says what the source of an entry is.
type Kind string

// The kinds.
const (
	KindRegistry   Kind = "registry"
	KindRepository Kind = "repository"
	KindImage      Kind = "image"
)

// Entry is an entry of sync, with the defaults applied.
type Entry struct {
	Position Position
	Kind     Kind
	Source   string // as written, without templates

	Registry  name.Registry   // of a registry entry
	Namespace string          // of a registry entry: only what is below this path; "" is everything
	Image     export.Request  // of an image entry
	Repo      name.Repository // of a repository entry

	Target    string // path at the destination, without the host; of a registry entry a prefix, or ""
	TargetTag string // of an image entry

	tagSets []tagSet // a tag that one of them selects is selected; without any, every tag
	repos   rules    // of a registry entry
	Latest  int      // only as many; 0 is all
	MinAge  time.Duration

	Settings  export.Settings
	RateLimit RateLimit
}

// RateLimit says to wait with fetching manifests while fewer than Min pulls are left.
type RateLimit struct {
	Min   int
	Retry time.Duration // 5 minutes at least, as in regsync
}

// minRetry is regsync's.
const minRetry = 5 * time.Minute

// Parse reads a file of at most MaxSize bytes. Everything that is wrong with it is in one error, which wraps ErrConfig.
func Parse(fileName string, content []byte, env Environment) (*File, error) {
	if len(content) > MaxSize {
		return nil, fmt.Errorf("%w: %s is larger than %d bytes", ErrConfig, fileName, MaxSize)
	}
	root, err := yaml.Parse(content, yaml.Options{File: fileName})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrConfig, err)
	}
	d := &decoder{reader{env: env, file: &File{Name: fileName, Content: content}, idle: map[string]*idleKey{}, seen: map[Position]bool{}}}
	d.Spare = d.spare
	d.document(root)
	d.noteIdleKeys()
	if err := d.Problems.Err(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrConfig, err)
	}
	return d.file, nil
}
