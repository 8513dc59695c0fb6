package notation

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"

	"github.com/notaryproject/notation-core-go/revocation"
	"github.com/notaryproject/notation-core-go/revocation/result"
	"github.com/notaryproject/notation-go/verifier/trustpolicy"
	"github.com/notaryproject/notation-go/verifier/truststore"

	"airgap/bundle"
	"airgap/verify/party"
)

// What Notation's verifier is told of a trust store, which it wants to know by names.
const (
	policyName   = "airgap"
	certificates = "ca:" + policyName
	timestamps   = "tsa:" + policyName
	// anyReference is what is verified; the policy is for everything, and what a signature is over is for the caller to compare.
	anyReference = "airgap.invalid/image@sha256:" // no digest is looked for
)

// documentOf returns Notation's trust policy for these identities.
func documentOf(identities []string, timestamped bool) *trustpolicy.Document {
	stores := []string{certificates}
	if timestamped {
		stores = append(stores, timestamps)
	}
	return &trustpolicy.Document{
		Version: "1.0",
		TrustPolicies: []trustpolicy.TrustPolicy{{
			Name:                  policyName,
			RegistryScopes:        []string{"*"},
			SignatureVerification: trustpolicy.SignatureVerification{VerificationLevel: trustpolicy.LevelStrict.Name},
			TrustStores:           stores,
			TrustedIdentities:     identities,
		}},
	}
}

// CheckIdentities says what is wrong with the identities of a trust store, by the rules for Notation's trust policies: each is "x509.subject:" and a
// distinguished name with at least C, ST and O, none of them is part of another, and "*" stands alone.
func CheckIdentities(identities []string) error {
	for _, identity := range identities {
		if identity != "*" && !strings.HasPrefix(identity, "x509.subject:") {
			return fmt.Errorf(`%.200q: an identity is "x509.subject: C=..., ST=..., O=...", or *`, identity)
		}
	}
	if err := documentOf(identities, false).Validate(); err != nil {
		return errors.New("the list " + strings.TrimPrefix(err.Error(), fmt.Sprintf("trust policy: trust policy statement %q ", policyName)))
	}
	return nil
}

// trustStore is Notation's view of a trust store.
type trustStore struct{ *party.Notation }

// GetCertificates implements truststore.X509TrustStore. Signing authorities, whose word on the time would count, there are none.
func (s trustStore) GetCertificates(_ context.Context, kind truststore.Type, _ string) ([]*x509.Certificate, error) {
	switch kind {
	case truststore.TypeCA:
		return s.Certificates, nil
	case truststore.TypeTSA:
		return s.Timestamps, nil
	default:
		return nil, nil
	}
}

// revocations takes the place of OCSP and CRLs, which would ask a network.
type revocations map[bundle.Digest]bool

// ValidateContext implements revocation.Validator.
func (r revocations) ValidateContext(_ context.Context, options revocation.ValidateContextOptions) ([]*result.CertRevocationResult, error) {
	results := make([]*result.CertRevocationResult, len(options.CertChain))
	for i, certificate := range options.CertChain {
		results[i] = &result.CertRevocationResult{Result: result.ResultOK}
		if r[bundle.DigestOf(certificate.RawSubjectPublicKeyInfo)] {
			results[i].Result = result.ResultRevoked
		}
	}
	return results, nil
}
