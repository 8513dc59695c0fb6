package bundle

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Sentinels for callers; every error of this package wraps one of them or an error of the operating system.
var (
	// ErrFormat: a bundle is not what FORMAT.md says, or a manifest or listing is not what its specification says; no
	// reader should go on with it.
	ErrFormat = errors.New("malformed")
	// ErrDigest: content does not have the digest or the length that was promised for it.
	ErrDigest = errors.New("content does not match its digest")
	// ErrUnsupported: well-formed, but of a kind that this version of airgap does not carry.
	ErrUnsupported = errors.New("not supported")
	// ErrLimit: larger than the limits in FORMAT.md.
	ErrLimit = errors.New("over the limit")
	// ErrPassedBy: of a bundle from a pipe, a blob that is not kept.
	ErrPassedBy = errors.New("can be read only when the pipe gets there")
	// ErrNotFound: no such blob in this bundle.
	ErrNotFound = errors.New("not in the bundle")
)

// maxProblems bounds how many problems are collected before a check gives up.
const maxProblems = 100

// Problems collects errors, so that they can be reported together.
type Problems struct {
	errs    []error
	omitted int
}

// Add records err; nil is ignored.
func (p *Problems) Add(err error) {
	switch {
	case err == nil:
	case len(p.errs) < maxProblems:
		p.errs = append(p.errs, err)
	default:
		p.omitted++
	}
}

// Err returns all problems as one error, or nil.
func (p *Problems) Err() error {
	if p.omitted > 0 {
		return errors.Join(append(slices.Clip(p.errs), fmt.Errorf("and %d more problems", p.omitted))...)
	}
	return errors.Join(p.errs...)
}

// ErrCollision: two roots, or two manifests under a cosign tag, have the same destination.
var ErrCollision = errors.New("two things have the same destination")

// OneLine returns the message of an error for what is one line, such as a warning: problems that take a line each are separated by
// semicolons.
func OneLine(err error) string { return strings.ReplaceAll(err.Error(), "\n", "; ") }
