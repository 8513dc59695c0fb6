package verify

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"airgap/bundle"
	"airgap/verify/approval"
	"airgap/verify/party"
	"airgap/verify/policy"
	"airgap/verify/proof"
	"airgap/verify/signature"
)

// Trust is whose bundles are believed, and for what.
type Trust struct {
	Policy      *policy.Policy
	Now         time.Time            // for ages; zero: the clock's
	Destination string               // HOST[/PREFIX] that the bundle is for; "": not known, and who is limited to some does not count
	Signatures  []signature.Detached // besides the one that the bundle holds
	SkipFailing bool                 // images that do not meet the policy are told by Bundle.Fails, and are no reason to refuse the bundle
	Approvals   []signature.Detached
}

// Why a bundle is not believed, where nothing is wrong with its signature. See also proof.ErrRevoked, and the errors of package signature.
var (
	// ErrNoKey: the policy trusts nobody, so that no bundle could pass.
	ErrNoKey = errors.New("no public key to check the signature with")
	// ErrScope: by somebody who counts for other mirrors or destinations.
	ErrScope = errors.New("signed by somebody who does not count for it")
	// ErrThreshold: by too few.
	ErrThreshold = errors.New("not signed by as many as the policy asks for")
	// ErrTooOld: made too long ago.
	ErrTooOld = errors.New("too old")
)

// OfOne is the trust for which one signature is enough: of who is about to add another.
func (t Trust) OfOne() Trust {
	if t.Policy != nil {
		p := *t.Policy
		p.Bundle.Threshold = 1
		t.Policy = &p
	}
	return t
}

// OfBases is the trust in what a bundle stands on, and in what was imported before: one signature is enough, they may be old, and their
// images are not judged.
func (t Trust) OfBases() Trust {
	if t.Policy != nil {
		t.Policy = &policy.Policy{Digest: t.Policy.Digest, Bundle: policy.Bundle{Party: t.Policy.Bundle.Party, Threshold: 1}}
	}
	t.Signatures = nil
	return t
}

// check finds out who of the trusted signed a head. Its header is read when one of them has.
func (t Trust) check(ctx context.Context, head *bundle.Head) (*Head, error) {
	s, err := t.signatures(head)
	if err != nil {
		return nil, err
	}
	header, err := head.Header(ctx)
	if err != nil {
		return nil, err
	}
	count, err := t.admit(s, header)
	if err != nil {
		return nil, fmt.Errorf("manifest index %s: %w", head.ManifestIndex(), err)
	}
	h := &Head{head: head, header: header, approved: t.approved(s, head)}
	for _, one := range count {
		h.signers = append(h.signers, one.signer)
		if one.file.Content != nil {
			h.beside = append(h.beside, one.file)
		}
	}
	return h, nil
}

// approved judges the approvals that the policy asks for; nil where it asks for none.
func (t Trust) approved(s *signed, head *bundle.Head) *approval.Approved {
	if t.Policy.Bundle.Approvals == nil {
		return nil
	}
	c := approval.Case{Ask: t.Policy.Bundle.Approvals, ManifestIndex: head.ManifestIndex(), Destination: t.Destination, Now: t.now()}
	for _, one := range s.by {
		c.Signers = append(c.Signers, one.signer)
	}
	return c.Judge(t.Approvals)
}

// signed are the good signatures over a head, before it is known what the bundle is, and what is wrong with the others.
type signed struct {
	by       []good // by different signers
	problems bundle.Problems
}

// good is a good signature.
type good struct {
	signer party.Signer
	file   signature.Detached // zero: it is in the bundle
}

// signatures checks all signatures over a head. It is an error if none of them is good.
func (t Trust) signatures(head *bundle.Head) (*signed, error) {
	if t.Policy == nil || len(t.Policy.Bundle.Party.Keys)+len(t.Policy.Bundle.Party.Identities) == 0 {
		return nil, ErrNoKey
	}
	s := &signed{}
	add := func(content []byte, file signature.Detached) error {
		signer, err := signerOf(content, head.ManifestIndex(), &t.Policy.Bundle.Party)
		if err == nil && !slices.ContainsFunc(s.by, func(other good) bool { return other.signer.ID() == signer.ID() }) {
			s.by = append(s.by, good{signer, file})
		}
		return err
	}
	for _, content := range head.Signatures() {
		s.problems.Add(add(content, signature.Detached{}))
	}
	for _, file := range t.Signatures {
		if err := add(file.Content, file); err != nil {
			s.problems.Add(fmt.Errorf("%s: %w", file.Name, err))
		}
	}
	if len(head.Signatures())+len(t.Signatures) == 0 {
		s.problems.Add(signature.ErrMissing)
	}
	if len(s.by) == 0 {
		return nil, fmt.Errorf("manifest index %s: %w", head.ManifestIndex(), s.problems.Err())
	}
	return s, nil
}

// signerOf tells who of a party made a signature.
func signerOf(content []byte, manifestIndex bundle.Digest, whose *party.Party) (party.Signer, error) {
	keys := make([]signature.PublicKey, len(whose.Keys))
	for i, key := range whose.Keys {
		keys[i] = key.PublicKey
	}
	key, err := signature.Verify(content, manifestIndex, keys)
	switch signer := (party.Signer{Party: whose.Name, Key: key.Digest()}); {
	case errors.Is(err, signature.ErrCertificate) && len(whose.Identities) > 0:
		return identityOf(content, manifestIndex, whose)
	case err != nil:
		return party.Signer{}, err
	case whose.Revoked[signer.Key]:
		return party.Signer{}, fmt.Errorf("%w: %s", proof.ErrRevoked, signer)
	default:
		return signer, nil
	}
}

// identityOf tells which identity of a party made a signature with a certificate.
func identityOf(content []byte, manifestIndex bundle.Digest, whose *party.Party) (party.Signer, error) {
	signer, err := proof.ReadBundle(content, manifestIndex).By(whose)
	if err != nil {
		return party.Signer{}, fmt.Errorf("%w: %w", signature.ErrUntrustedKey, err)
	}
	return signer, signature.CheckCertified(content, manifestIndex)
}

// admit holds a bundle against what its signers count for, and returns those that count for it.
func (t Trust) admit(s *signed, header *bundle.Header) (count []good, err error) {
	var names []string
	for _, one := range s.by {
		if err := t.inScope(one.signer, header.Mirror); err != nil {
			s.problems.Add(err)
			continue
		}
		count, names = append(count, one), append(names, one.signer.String())
	}
	ask := &t.Policy.Bundle
	switch {
	case len(count) == 0:
		return nil, s.problems.Err()
	case len(count) < ask.Threshold:
		s.problems.Add(fmt.Errorf("%w: by %s, which is %d of %d; name the files with the others with --signature (airgap countersign makes them)",
			ErrThreshold, strings.Join(names, ", "), len(count), ask.Threshold))
		return nil, s.problems.Err()
	}
	return count, CheckAge(header, ask.MaxAge, t.now())
}

func (t Trust) now() time.Time {
	if t.Now.IsZero() {
		return time.Now()
	}
	return t.Now
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

// inScope says why a signer does not count for a bundle of a mirror. One key or identity may be there several times, with different scopes.
func (t Trust) inScope(signer party.Signer, mirror string) error {
	var scopes []party.Scope
	for _, key := range t.Policy.Bundle.Party.Keys {
		if signer.Issuer == "" && key.Digest() == signer.Key {
			scopes = append(scopes, key.Scope)
		}
	}
	for _, identity := range t.Policy.Bundle.Party.Identities {
		if identity.Matches(signer.Issuer, signer.Subject) {
			scopes = append(scopes, identity.Scope)
		}
	}
	if len(scopes) == 0 {
		return fmt.Errorf("%w: %s", ErrScope, signer)
	}
	var problems bundle.Problems
	for _, scope := range scopes {
		why := t.outside(scope, mirror)
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
