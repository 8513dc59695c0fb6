package approval

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"airgap/bundle"
	"airgap/verify/party"
	"airgap/verify/policy"
	"airgap/verify/proof"
	"airgap/verify/signature"
)

// Why an approval does not count, besides the errors of package proof.
var (
	errNone        = errors.New("no approval")
	errDestination = errors.New("for another destination")
	errEnded       = errors.New("it has ended")
	errPacker      = errors.New("by who signed the bundle, and the policy asks for others")
	errTwice       = errors.New("by who approved already")
	errKey         = errors.New("it says that another key signed it")
)

// ErrMissing: a bundle is not approved by as many as the policy asks for.
var ErrMissing = errors.New("approvals are missing")

// Case is what is to be approved, and by whom.
type Case struct {
	Ask           *policy.Approvals
	ManifestIndex bundle.Digest
	Signers       []party.Signer // of the bundle
	Destination   string         // HOST[/PREFIX]; "": not known, so that only approvals for any count
	Now           time.Time
}

// Approved is what approvals there are, and which count.
type Approved struct {
	Threshold int
	Files     []File
}

// File is an approval in a file.
type File struct {
	signature.Detached
	Signer   party.Signer // as far as Approval is there
	Approval *Approval    // nil where it is not by an approver, or is none
	Problem  error        // nil: it counts
}

// Judge judges files, each of which may hold an approval. None of them spoils another.
func (c Case) Judge(files []signature.Detached) *Approved {
	approved := &Approved{Threshold: max(c.Ask.Threshold, 1)}
	for _, file := range files {
		judged := File{Detached: file}
		judged.Signer, judged.Approval, judged.Problem = c.read(file.Content)
		if judged.Problem == nil && slices.ContainsFunc(approved.Counting(), func(f File) bool { return f.Signer.ID() == judged.Signer.ID() }) {
			judged.Problem = errTwice
		}
		approved.Files = append(approved.Files, judged)
	}
	return approved
}

// read finds out whose an approval is, and whether it is one for the case.
func (c Case) read(content []byte) (party.Signer, *Approval, error) {
	if len(content) > signature.MaxSize {
		return party.Signer{}, nil, fmt.Errorf("%w: %d bytes, more than %d", proof.ErrBroken, len(content), signature.MaxSize)
	}
	p := proof.ReadBundle(content, c.ManifestIndex)
	signer, err := p.By(&c.Ask.Party)
	if err != nil {
		return signer, nil, err
	}
	if p.PredicateType != PredicateType {
		return signer, nil, fmt.Errorf("%w: %s signed something else: its predicate type is %.80q", errNone, signer, p.PredicateType)
	}
	statement, err := p.Statement()
	if err != nil {
		return signer, nil, err
	}
	a, err := parse(statement)
	if err == nil {
		err = c.check(signer, a)
	}
	return signer, a, err
}

// check says why a good approval does not count.
func (c Case) check(signer party.Signer, a *Approval) error {
	switch {
	case !a.Key.IsZero() && a.Key != signer.Key:
		return fmt.Errorf("%w: %s, and it is by %s", errKey, a.Key, signer)
	case !a.isFor(c.Destination) && c.Destination == "":
		return fmt.Errorf("%w: %s, and where the bundle is to go is not known (say so with --for)", errDestination, a.Destination)
	case !a.isFor(c.Destination):
		return fmt.Errorf("%w: %s", errDestination, a.Destination)
	case !a.Until.IsZero() && c.Now.After(a.Until):
		return fmt.Errorf("%w: %s", errEnded, a.Until.Format(time.RFC3339))
	case c.Ask.DistinctFromBundle && slices.ContainsFunc(c.Signers, func(s party.Signer) bool { return s.ID() == signer.ID() || s.Key == signer.Key }):
		return errPacker
	}
	return nil
}

// Counting returns the approvals that count.
func (a *Approved) Counting() (counting []File) {
	if a == nil {
		return nil
	}
	for _, f := range a.Files {
		if f.Problem == nil {
			counting = append(counting, f)
		}
	}
	return counting
}

// Err is nil where there are as many approvals as the policy asks for, or it asks for none (a is nil), and wraps ErrMissing otherwise: who has
// approved, and why others do not count.
func (a *Approved) Err() error {
	if a == nil || len(a.Counting()) >= a.Threshold {
		return nil
	}
	var problems bundle.Problems
	problems.Add(fmt.Errorf("%w: there are %d of the %d that the policy asks for; \"airgap approve\" makes them, and --approval names their files", ErrMissing, len(a.Counting()), a.Threshold))
	for _, f := range a.Files {
		problems.Add(errors.New(f.String()))
	}
	return problems.Err()
}

// String says for people what the approval is worth.
func (f File) String() string {
	text := f.Name + ": "
	if f.Approval != nil {
		text += fmt.Sprintf("by %s on %s", f.Signer, f.Approval.Time.Format(time.RFC3339))
		if f.Problem == nil {
			return text
		}
		text += ", "
	}
	return text + "does not count: " + bundle.OneLine(f.Problem)
}
