package report

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"

	"airgap/bundle"
	"airgap/bundle/strictjson"
	"airgap/import/placing"
)

// MaxSize is how large a report may be that is read again, in bytes: some 500 000 tags, or fewer with many referrers.
const MaxSize = 256 << 20

// ErrReport: a file is no report of an import that wrote something, or one that nobody could have written.
var ErrReport = errors.New("this is not the report of an import")

// Imported is an import's report as it was read again, and checked: all tags are at the one registry that it names.
type Imported struct {
	report   *Report
	registry name.Registry
	moved    []Moved // in the order of the report
}

// Moved is a tag that the import has written, or may have.
type Moved struct {
	TagMove
	Name name.Tag
}

// Registry returns the registry that the import was for: the only one that a rollback asks.
func (i *Imported) Registry() name.Registry { return i.registry }

// Bundle returns the manifest index of what was imported.
func (i *Imported) Bundle() bundle.Digest { return i.report.Bundle }

// Started returns when the import began.
func (i *Imported) Started() time.Time { return i.report.Started }

// Moved returns the tags that the import has written, or may have, in the order of the report.
func (i *Imported) Moved() []Moved { return i.moved }

// Target returns where the import went, as REGISTRY[/PREFIX].
func (i *Imported) Target() string { return i.report.Target }

// Read reads a Report in JSON, MaxSize bytes at most. What is no such thing, the report of a dry run, and
// names of tags that are none or belong to another registry are errors that wrap ErrReport. A report is not signed: what it
// says about tags is believed, so it is to be kept where nobody else writes.
func Read(r io.Reader) (*Imported, error) { return read(r, MaxSize) }

// read is Read of limit bytes at most.
func read(r io.Reader, limit int64) (*Imported, error) {
	content, err := io.ReadAll(io.LimitReader(r, limit+1))
	switch {
	case err != nil:
		return nil, err
	case int64(len(content)) > limit:
		return nil, fmt.Errorf("%w: it has more than %d bytes", ErrReport, limit)
	}
	return parse(content)
}

// parse is Read for what is in memory. Fields that are not known may be those of a later version.
func parse(content []byte) (*Imported, error) {
	var report Report
	if err := strictjson.Unmarshal(content, &report); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrReport, err)
	}
	if report.Target == "" || report.Bundle.IsZero() {
		return nil, fmt.Errorf("%w: it does not say what went where (fields bundle and target); it is what \"airgap import --report FILE\" writes", ErrReport)
	}
	if report.DryRun {
		return nil, fmt.Errorf("%w that wrote something: it was a dry run, so there is nothing to be put back", ErrReport)
	}
	to, err := placing.ParseDestination(report.Target)
	if err != nil {
		return nil, fmt.Errorf("%w: its target: %s", ErrReport, err.Error()) // not placing.ErrMapping, which is about arguments
	}
	imported := &Imported{report: &report, registry: to.Registry}
	seen := map[string]bool{}
	for _, move := range report.Tags {
		tag, err := imported.check(move)
		if err == nil && seen[tag.Name()] {
			err = errors.New("it is there twice")
		}
		if err != nil {
			return nil, fmt.Errorf("%w: tag %.300q of %.300q: %s", ErrReport, move.Tag, move.Repository, err.Error())
		}
		seen[tag.Name()] = true
		if move.Status == StatusMoved || move.Status == StatusInDoubt {
			imported.moved = append(imported.moved, Moved{move, tag})
		}
	}
	return imported, nil
}

// check returns the name of a tag in the report, which an import can have written.
func (i *Imported) check(move TagMove) (name.Tag, error) {
	path, here := strings.CutPrefix(move.Repository, i.registry.Name()+"/")
	if !here {
		return name.Tag{}, fmt.Errorf("it is not at %s, to which the import went", i.registry.Name())
	}
	if err := placing.CheckName(path, move.Tag); err != nil {
		return name.Tag{}, err
	}
	tag := i.registry.Repo(path).Tag(move.Tag)
	switch {
	case move.Tag == "":
		return tag, errors.New("it has no name")
	case tag.Context().Name() != move.Repository:
		return tag, errors.New("that is not how the repository is written")
	case bundle.IsFallbackTag(move.Tag):
		return tag, errors.New("that is a list of referrers, which no import moves")
	case move.New.IsZero():
		return tag, errors.New("it does not say what the import made of it")
	case (move.Status == StatusMoved || move.Status == StatusInDoubt) && move.Old == move.New:
		return tag, errors.New("it has moved to where it was")
	}
	return tag, nil
}
