package proof

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"airgap/verify/party"
	"airgap/verify/proof/notation"
	"airgap/verify/signature"
)

// By tells who of a party made the proof, and when, as far as anybody vouches for that. The error is nil, or wraps one of the errors of this package:
// the state of the proof to that party. By depends on nothing but its arguments, and may be called from several goroutines.
func (p *Proof) By(whose *party.Party) (party.Signer, error) {
	switch {
	case p.Problem != nil:
		return party.Signer{}, p.Problem
	case p.envelope != nil:
		return p.byNotation(whose)
	case p.signed == nil:
		return party.Signer{}, ErrUnsigned
	}
	if signer, err := p.signed.byKey(whose); err == nil || !errors.Is(err, ErrUntrusted) || p.signed.certificate == nil {
		return signer, err
	}
	return p.signed.byIdentity(whose)
}

// byKey looks for a key of the party that made one of the signatures. It needs no time; one that is vouched for is told.
func (s *signed) byKey(whose *party.Party) (party.Signer, error) {
	err := fmt.Errorf("%w: none of the keys of %s made it, or it was altered since", ErrUntrusted, whose.Name)
	for _, raw := range s.signatures {
		for _, key := range whose.Keys {
			switch {
			case !key.Verifies(s.message, raw):
			case whose.Revoked[key.Digest()]:
				err = fmt.Errorf("%w: %s", ErrRevoked, key.Fingerprint())
			default:
				return party.Signer{Party: whose.Name, Key: key.Digest(), Time: s.timeByKey(whose, key.PublicKey, raw)}, nil
			}
		}
	}
	return party.Signer{}, err
}

// timeByKey returns when a signature by a key was made, as far as the party's trusted root knows.
func (s *signed) timeByKey(whose *party.Party, key signature.PublicKey, raw []byte) time.Time {
	if whose.Root == nil || len(s.entries)+len(s.timestamps) == 0 {
		return time.Time{}
	}
	w := witnessed{signed: s, signature: raw, key: key, bare: true}
	times, err := w.times(whose.Root)
	if err != nil {
		return time.Time{} // a signature by a key counts without
	}
	return earliest(times)
}

func earliest(times []time.Time) time.Time {
	var first time.Time
	for _, t := range times {
		if first.IsZero() || t.Before(first) {
			first = t
		}
	}
	return first
}

// byNotation asks package notation.
func (p *Proof) byNotation(whose *party.Party) (party.Signer, error) {
	about, signer, err := notation.Verify(p.envelope, p.mediaType, whose.Notation, whose.Revoked)
	switch err = stateOf(err); {
	case errors.Is(err, ErrBroken):
		return party.Signer{}, err
	case about.Digest != p.About:
		return party.Signer{}, fmt.Errorf("%w: it is about %s", ErrSubject, about.Digest)
	case err != nil:
		return party.Signer{}, err
	}
	signer.Party = whose.Name
	return signer, nil
}

// stateOf makes an error of package notation one of this package.
func stateOf(err error) error {
	for _, state := range []struct{ theirs, ours error }{
		{notation.ErrBroken, ErrBroken},
		{notation.ErrUntrusted, ErrUntrusted},
		{notation.ErrRevoked, ErrRevoked},
		{notation.ErrExpired, ErrExpired},
	} {
		if errors.Is(err, state.theirs) {
			return fmt.Errorf("%w: %s", state.ours, strings.TrimPrefix(err.Error(), state.theirs.Error()+": "))
		}
	}
	return err
}
