package proof

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"slices"
	"time"

	"github.com/secure-systems-lab/go-securesystemslib/dsse"
	protocommon "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	protorekor "github.com/sigstore/protobuf-specs/gen/pb-go/rekor/v1"
	sigstorebundle "github.com/sigstore/sigstore-go/pkg/bundle"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/tlog"
	sigstore "github.com/sigstore/sigstore-go/pkg/verify"
	sigstoresignature "github.com/sigstore/sigstore/pkg/signature"

	"airgap/verify/signature"
)

// witnessed is one signature with the log entries and timestamps that came along: what sigstore-go takes as a signed entity, whatever it was read from.
type witnessed struct {
	sigstore.BaseSignedEntity
	*signed
	signature []byte
	key       *signature.PublicKey // that made it; nil: the certificate's
}

// times returns when logs and timestamp authorities of a trusted root say that the signature was made, possibly never. What others say plays no part.
// The error is for an entry that a trusted log made for something else, and the like.
func (w *witnessed) times(tm root.TrustedMaterial) ([]time.Time, error) {
	if w.key != nil {
		tm = root.TrustedMaterialCollection{tm, keyMaterial(w.key)}
	}
	logged, err := sigstore.VerifyTlogEntry(w, tm, 0, true)
	switch {
	case err != nil && w.key == nil && slices.ContainsFunc(w.entries, w.outsideLife):
		return nil, fmt.Errorf("%w: %.300s", ErrExpired, err.Error())
	case err != nil:
		return nil, broken("log entry: %.300s", err)
	}
	var times []time.Time
	for _, entry := range logged {
		times = append(times, entry.Time)
	}
	for _, stamp := range w.timestamps {
		for _, authority := range tm.TimestampingAuthorities() {
			if verified, err := authority.Verify(stamp, w.stamped); err == nil {
				times = append(times, verified.Time)
				break
			}
		}
	}
	return times, nil
}

// outsideLife tells whether an entry says that it was made while the certificate was not valid.
func (w *witnessed) outsideLife(e *protorekor.TransparencyLogEntry) bool {
	at := time.Unix(e.GetIntegratedTime(), 0)
	return at.Before(w.certificate.NotBefore) || at.After(w.certificate.NotAfter)
}

func keyMaterial(key *signature.PublicKey) root.TrustedMaterial {
	return root.NewTrustedPublicKeyMaterial(func(string) (root.TimeConstrainedVerifier, error) {
		verifier, err := sigstoresignature.LoadDefaultVerifier(key.Crypto())
		return root.NewExpiringKey(verifier, time.Time{}, time.Time{}), err
	})
}

// TlogEntries implements verify.SignedEntity.
func (w *witnessed) TlogEntries() ([]*tlog.Entry, error) {
	entries := make([]*tlog.Entry, len(w.entries))
	for i, entry := range w.entries {
		var err error
		if entries[i], err = tlog.ParseTransparencyLogEntry(entry); err != nil {
			return nil, err
		}
	}
	return entries, nil
}

// VerificationContent implements verify.SignedEntity.
func (w *witnessed) VerificationContent() (sigstore.VerificationContent, error) {
	if w.key != nil {
		return new(sigstorebundle.PublicKey), nil // keyMaterial knows it by any hint
	}
	return sigstorebundle.NewCertificate(w.certificate), nil
}

// SignatureContent implements verify.SignedEntity.
func (w *witnessed) SignatureContent() (sigstore.SignatureContent, error) {
	if w.envelope {
		return &sigstorebundle.Envelope{Envelope: &dsse.Envelope{
			PayloadType: payloadTypeInToto,
			Payload:     base64.StdEncoding.EncodeToString(w.payload),
			Signatures:  []dsse.Signature{{Sig: base64.StdEncoding.EncodeToString(w.signature)}},
		}}, nil
	}
	if w.digest != nil {
		return sigstorebundle.NewMessageSignature(w.digest.GetDigest(), w.digest.GetAlgorithm().String(), w.signature), nil
	}
	sum := sha256.Sum256(w.payload) // cosign's logs have this one for its payloads, whatever the key
	return sigstorebundle.NewMessageSignature(sum[:], protocommon.HashAlgorithm_SHA2_256.String(), w.signature), nil
}
