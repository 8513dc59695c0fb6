package bundle

import (
	"errors"
	"fmt"
	"slices"
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
