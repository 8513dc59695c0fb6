// Package approval makes and judges approvals: what people say of a bundle in files of their own, so that it may be imported. The page
// APPROVAL.md says what is in such a file.
//
// Start with Sign, and with Judge on the other side.
package approval

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"airgap/bundle"
	"airgap/bundle/strictjson"
	"airgap/verify/proof"
	"airgap/verify/signature"
)

// PredicateType is that of the statement in an approval.
const PredicateType = "urn:airgap:approval:v1"

// maxText bounds texts of an approval, in bytes.
const maxText = 1024

// Approval is what somebody says of a bundle: the predicate, in the order in which Sign writes it.
type Approval struct {
	Time        time.Time     `json:"time"`                  // when it was made, as who made it says
	Key         bundle.Digest `json:"key,omitzero"`          // by which it is signed
	Destination string        `json:"destination,omitempty"` // HOST[/PREFIX]: the only one that it is for, with what is below it; "" for any
	Until       time.Time     `json:"until,omitzero"`        // when it ends; zero for never
	Note        string        `json:"note,omitempty"`
	Report      bundle.Digest `json:"report,omitzero"` // of a file that was looked at
}

// Sign returns the approval of a bundle, signed by a key: a Sigstore bundle. Key is set. The same arguments give the same bytes.
func Sign(key *signature.PrivateKey, manifestIndex bundle.Digest, a Approval) ([]byte, error) {
	a.Time, a.Until, a.Key = a.Time.UTC().Truncate(time.Second), a.Until.UTC().Truncate(time.Second), key.Public().Digest()
	if err := a.Check(); err != nil {
		return nil, err
	}
	predicate, err := json.Marshal(a)
	if err != nil {
		return nil, err
	}
	return signature.Attest(key, manifestIndex, PredicateType, predicate)
}

// parse reads the predicate of a statement.
func parse(statement any) (*Approval, error) {
	members, _ := statement.(map[string]any)
	predicate, _ := members["predicate"].(map[string]any)
	content, err := json.Marshal(predicate)
	if err != nil {
		return nil, err
	}
	var a Approval
	if err := strictjson.UnmarshalExact(content, &a); err != nil {
		return nil, fmt.Errorf("%w: predicate: %w", proof.ErrBroken, err)
	}
	if _, ends := predicate["until"]; ends && a.Until.IsZero() {
		return nil, fmt.Errorf("%w: it ends in the year 1", proof.ErrBroken)
	}
	if !isWhole(a.Time) || !isWhole(a.Until) {
		return nil, fmt.Errorf("%w: times are in whole seconds, and end with Z", proof.ErrBroken)
	}
	if err := a.Check(); err != nil {
		return nil, fmt.Errorf("%w: %w", proof.ErrBroken, err)
	}
	return &a, nil
}

// Check says what is wrong with what somebody is about to sign.
func (a *Approval) Check() error {
	if a.Time.IsZero() {
		return errors.New("it does not say when it was made")
	}
	for _, text := range []struct{ name, value string }{{"destination", a.Destination}, {"note", a.Note}} {
		if len(text.value) > maxText || strings.ContainsFunc(text.value, func(r rune) bool { return r < ' ' || r == 0x7f }) {
			return fmt.Errorf("its %s is more than a line of %d bytes", text.name, maxText)
		}
	}
	return nil
}

func isWhole(t time.Time) bool { return t.Nanosecond() == 0 && t.Location() == time.UTC }

// isFor tells whether it is for a destination.
func (a *Approval) isFor(destination string) bool {
	return a.Destination == "" || destination == a.Destination || strings.HasPrefix(destination, a.Destination+"/")
}
