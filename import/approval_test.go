package importer_test

import (
	"bytes"
	"errors"
	"os"
	"testing"
	"time"

	"airgap/bundle"
	"airgap/bundle/ledger"
	"airgap/export/registry/registrytest"
	importer "airgap/import"
	"airgap/import/importtest"
	"airgap/verify"
	"airgap/verify/approval"
	"airgap/verify/party"
	"airgap/verify/policy"
	"airgap/verify/signature"
)

// Nothing is written, however often it is tried, before all have approved; then their approvals are kept in the record, also when
// one comes later.
func TestApprovals(t *testing.T) {
	w := importtest.NewWeekly(t, 1)
	var officers []*signature.PrivateKey
	var ask policy.Approvals
	for range 3 {
		key, err := signature.Generate(signature.ECDSAP256)
		if err != nil {
			t.Fatal(err)
		}
		officers, ask.Party.Keys = append(officers, key), append(ask.Party.Keys, party.Key{PublicKey: key.Public()})
	}
	ask.Threshold = 2
	index := importtest.Open(t, w.Files[0]).ManifestIndex()
	approve := func(officer int, a approval.Approval) signature.Detached {
		a.Time = time.Unix(1_700_000_000, 0)
		content, err := approval.Sign(officers[officer], index, a)
		if err != nil {
			t.Fatal(err)
		}
		return signature.Detached{Name: "officer.approval", Content: content}
	}
	at := func(s *registrytest.Server) approval.Approval {
		return approval.Approval{Destination: s.Host() + "/mirror"}
	}
	content, err := os.ReadFile(w.Files[0])
	if err != nil {
		t.Fatal(err)
	}
	for name, kind := range targets {
		t.Run(name, func(t *testing.T) {
			s := registrytest.New(t, kind...)
			run := func(pipe bool, approvals ...signature.Detached) error {
				t.Helper()
				medium := bundle.FromReaderAt(bytes.NewReader(content), int64(len(content)))
				if pipe {
					medium = bundle.FromReader(bytes.NewReader(content))
				}
				sealed, err := bundle.Open(medium)
				if err != nil {
					t.Fatal(err)
				}
				defer func() { _ = sealed.Close() }()
				trust := importtest.Trust()
				trust.Policy.Bundle.Approvals, trust.Approvals, trust.Destination, trust.Now = &ask, approvals, s.Host()+"/mirror", time.Unix(1_700_000_000, 0)
				b, err := verify.Open(t.Context(), sealed, trust)
				if err != nil {
					t.Fatal(err)
				}
				_, err = importer.Run(t.Context(), b, importtest.Client(), recordingOptions(t, s, trust))
				return err
			}
			elsewhere := approve(1, approval.Approval{Destination: s.Host() + "/other"})
			ended := approve(1, approval.Approval{Until: time.Unix(1_699_999_999, 0)})
			for range 2 {
				for _, approvals := range [][]signature.Detached{nil, {approve(0, at(s))}, {approve(0, at(s)), elsewhere}, {approve(0, at(s)), ended, elsewhere}} {
					for _, pipe := range []bool{false, true} {
						if err := run(pipe, approvals...); !errors.Is(err, approval.ErrMissing) {
							t.Errorf("%d approvals, pipe %t: %v", len(approvals), pipe, err)
						}
					}
				}
			}
			if len(s.Requests()) > 0 {
				t.Fatalf("before that it was asked %q", s.Requests())
			}
			expect := func(approvals int) {
				t.Helper()
				head, err := (ledger.Ledger{Repository: recordAt(s, "mirror/airgap")}).Head(t.Context(), index.String())
				if err != nil {
					t.Fatal(err)
				}
				if len(head.Signatures()) != 1+approvals {
					t.Errorf("the record has %d Sigstore bundles, want the signature and %d approvals", len(head.Signatures()), approvals)
				}
				if _, err := verify.OpenHead(t.Context(), head, importtest.Trust()); err != nil {
					t.Error(err)
				}
			}
			for _, pipe := range []bool{false, true} {
				if err := run(pipe, approve(0, at(s)), approve(2, at(s)), ended); err != nil {
					t.Fatal(err)
				}
				expect(2)
			}
			if err := run(false, approve(0, at(s)), approve(1, at(s)), approve(2, at(s))); err != nil {
				t.Fatal(err)
			}
			expect(3)
		})
	}
}

func recordingOptions(t *testing.T, s *registrytest.Server, trust verify.Trust) importer.Options {
	t.Helper()
	o := options(t, s)
	o.Recording.Trust = trust
	return o
}
