package proof

import (
	"crypto"
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
	key       signature.PublicKey // that made it
	bare      bool                // its certificate, if there is one, plays no part
}

// times returns when logs and timestamp authorities of a trusted root say that the signature was made, possibly never. What others say plays no part.
// The error is for an entry that a trusted log made for something else, and the like.
func (w *witnessed) times(tm root.TrustedMaterial) ([]time.Time, error) {
	if w.bare {
		tm = root.TrustedMaterialCollection{tm, w.keyMaterial()}
	}
	logged, err := sigstore.VerifyTlogEntry(w, tm, 0, true)
	switch {
	case err != nil && !w.bare && slices.ContainsFunc(w.entries, w.outsideLife):
		return nil, fmt.Errorf("%w: %.300s", ErrExpired, err.Error())
	case err != nil:
		return nil, broken("log entry: %.300s", err)
	}
	var times []time.Time
	for _, entry := range logged {
		times = append(times, entry.Time)
	}
	for _, stamp := range w.timestamps {
		if at, ok := w.stampedAt(stamp, tm); ok {
			times = append(times, at)
		}
	}
	return times, nil
}

// stampedAt returns when an authority of a trusted root says that the signature was there. For attestations under tags, cosign 2 has the whole envelope
// stamped, and cosign 3 the signature, as in Sigstore bundles; either shows it.
func (w *witnessed) stampedAt(stamp []byte, tm root.TrustedMaterial) (time.Time, bool) {
	for _, authority := range tm.TimestampingAuthorities() {
		for _, over := range [][]byte{w.stamped, w.signature} {
			if verified, err := authority.Verify(stamp, over); err == nil {
				return verified.Time, true
			}
		}
	}
	return time.Time{}, false
}

// outsideLife tells whether an entry says that it was made while the certificate was not valid.
func (w *witnessed) outsideLife(e *protorekor.TransparencyLogEntry) bool {
	at := time.Unix(e.GetIntegratedTime(), 0)
	return at.Before(w.certificate.NotBefore) || at.After(w.certificate.NotAfter)
}

// keyMaterial has the key, under any hint.
func (w *witnessed) keyMaterial() root.TrustedMaterial {
	return root.NewTrustedPublicKeyMaterial(func(string) (root.TimeConstrainedVerifier, error) {
		verifier, err := sigstoresignature.LoadDefaultVerifier(w.key.Crypto())
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
	if w.bare {
		return new(sigstorebundle.PublicKey), nil
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
	algorithm, hash := protocommon.HashAlgorithm_SHA2_256, crypto.SHA256
	switch w.key.Hash() {
	case crypto.SHA384:
		algorithm, hash = protocommon.HashAlgorithm_SHA2_384, crypto.SHA384
	case crypto.SHA512:
		algorithm, hash = protocommon.HashAlgorithm_SHA2_512, crypto.SHA512
	}
	sum := hash.New()
	sum.Write(w.payload)
	return sigstorebundle.NewMessageSignature(sum.Sum(nil), algorithm.String(), w.signature), nil
}
