package verify

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"airgap/bundle"
	"airgap/verify/party"
	"airgap/verify/policy"
	"airgap/verify/signature"
)

// Trust is whose bundles are believed, and for what.
type Trust struct {
	Policy      *policy.Policy
	Now         time.Time // for ages; zero: the clock's
	Destination string    // HOST[/PREFIX] that the bundle is for; "": not known, and who is limited to some does not count
	Signatures  [][]byte  // Sigstore bundles that came beside the bundle, besides the one that it holds
}

// Why a bundle is not believed, where nothing is wrong with its signature. See also the errors of package signature.
var (
	// ErrNoKey: the policy trusts nobody, so that no bundle could pass.
	ErrNoKey = errors.New("no public key to check the signature with")
	// ErrRevoked: by a key that is revoked.
	ErrRevoked = errors.New("signed by a key that is revoked")
	// ErrScope: by somebody who counts for other mirrors or destinations.
	ErrScope = errors.New("signed by somebody who does not count for it")
	// ErrThreshold: by too few.
	ErrThreshold = errors.New("not signed by as many as the policy asks for")
	// ErrTooOld: made too long ago.
	ErrTooOld = errors.New("too old")
)

// OfBases is the trust in what a bundle stands on, and in what was imported before: one signature is enough, they may be old, and their
// images are not judged.
func (t Trust) OfBases() Trust {
	if t.Policy != nil {
		t.Policy = &policy.Policy{Digest: t.Policy.Digest, Bundle: policy.Bundle{Party: t.Policy.Bundle.Party, Threshold: 1}}
	}
	t.Signatures = nil
	return t
}

// check returns who of the trusted signed a head, and its header, which is read when one of them has.
func (t Trust) check(ctx context.Context, head *bundle.Head) ([]party.Signer, *bundle.Header, error) {
	s, err := t.signatures(head)
	if err != nil {
		return nil, nil, err
	}
	header, err := head.Header(ctx)
	if err != nil {
		return nil, nil, err
	}
	signers, err := t.admit(s, header)
	if err != nil {
		return nil, nil, fmt.Errorf("manifest index %s: %w", head.ManifestIndex(), err)
	}
	return signers, header, nil
}

// signed are the good signatures over a head, before it is known what the bundle is, and what is wrong with the others.
type signed struct {
	by       []party.Signer
	problems bundle.Problems
}

// signatures checks all signatures over a head. It is an error if none of them is good.
func (t Trust) signatures(head *bundle.Head) (*signed, error) {
	if t.Policy == nil || len(t.Policy.Bundle.Party.Keys) == 0 {
		return nil, ErrNoKey
	}
	whose := &t.Policy.Bundle.Party
	keys := make([]signature.PublicKey, len(whose.Keys))
	for i, key := range whose.Keys {
		keys[i] = key.PublicKey
	}
	s := &signed{}
	candidates := slices.Concat(head.Signatures(), t.Signatures)
	for _, candidate := range candidates {
		key, err := signature.Verify(candidate, head.ManifestIndex(), keys)
		signer := party.Signer{Party: whose.Name, Key: key.Digest()}
		switch {
		case err != nil:
			s.problems.Add(err)
		case whose.Revoked[signer.Key]:
			s.problems.Add(fmt.Errorf("%w: %s", ErrRevoked, signer))
		case !slices.ContainsFunc(s.by, func(other party.Signer) bool { return other.ID() == signer.ID() }):
			s.by = append(s.by, signer)
		}
	}
	if len(candidates) == 0 {
		s.problems.Add(signature.ErrMissing)
	}
	if len(s.by) == 0 {
		return nil, fmt.Errorf("manifest index %s: %w", head.ManifestIndex(), s.problems.Err())
	}
	return s, nil
}

// admit holds a bundle against what its signers count for, and returns those that count for it.
func (t Trust) admit(s *signed, header *bundle.Header) ([]party.Signer, error) {
	var count []party.Signer
	for _, signer := range s.by {
		if err := t.inScope(signer, header.Mirror); err != nil {
			s.problems.Add(err)
			continue
		}
		count = append(count, signer)
	}
	ask := &t.Policy.Bundle
	switch {
	case len(count) == 0:
		return nil, s.problems.Err()
	case len(count) < ask.Threshold:
		s.problems.Add(fmt.Errorf("%w: by %s, which is %d of %d", ErrThreshold, strings.Join(party.Names(count), ", "), len(count), ask.Threshold))
		return nil, s.problems.Err()
	}
	now := t.Now
	if now.IsZero() {
		now = time.Now()
	}
	return count, CheckAge(header, ask.MaxAge, now)
}

// CheckAge refuses a bundle that was made longer ago than most (ErrTooOld), where that is not 0.
func CheckAge(header *bundle.Header, most time.Duration, now time.Time) error {
	created, err := header.CreatedTime()
	if err != nil {
		return err
	}
	if age := now.Sub(created); most > 0 && age > most {
		return fmt.Errorf("the bundle is %w: it was made on %s, %d days ago", ErrTooOld, created.Format(time.DateOnly), int(age.Hours()/24))
	}
	return nil
}

// inScope says why a signer does not count for a bundle of a mirror. One key may be there several times, with different scopes.
func (t Trust) inScope(signer party.Signer, mirror string) error {
	var problems bundle.Problems
	for _, key := range t.Policy.Bundle.Party.Keys {
		if key.Digest() != signer.Key {
			continue
		}
		why := t.outside(key.Scope, mirror)
		if why == "" {
			return nil
		}
		problems.Add(fmt.Errorf("%w: %s %s", ErrScope, signer, why))
	}
	return problems.Err()
}

// outside says why a scope does not cover a bundle; "" where it does.
func (t Trust) outside(scope party.Scope, mirror string) string {
	switch {
	case len(scope.Mirrors) > 0 && mirror == "":
		return fmt.Sprintf("counts for the mirrors %s, and the bundle is of none", strings.Join(scope.Mirrors, ", "))
	case len(scope.Mirrors) > 0 && !slices.Contains(scope.Mirrors, mirror):
		return fmt.Sprintf("counts for the mirrors %s, and the bundle is of %s", strings.Join(scope.Mirrors, ", "), mirror)
	case len(scope.Destinations) == 0, slices.ContainsFunc(scope.Destinations, t.goesTo):
		return ""
	case t.Destination == "":
		return fmt.Sprintf("counts for the destinations %s, and where the bundle is to go is not known: say so with --for", strings.Join(scope.Destinations, ", "))
	}
	return fmt.Sprintf("counts for the destinations %s, and not for %s", strings.Join(scope.Destinations, ", "), t.Destination)
}

// goesTo tells whether a glob is for the destination.
func (t Trust) goesTo(glob string) bool {
	pattern, err := policy.Glob(glob)
	return err == nil && t.Destination != "" && pattern.MatchString(t.Destination)
}
