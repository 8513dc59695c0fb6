package approval_test

import (
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"airgap/bundle"
	"airgap/verify/approval"
	"airgap/verify/party"
	"airgap/verify/policy"
	"airgap/verify/proof"
	"airgap/verify/signature"
)

var update = flag.Bool("update", false, "write the examples anew")

func read(t testing.TB, name string) []byte {
	t.Helper()
	content, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return content
}

// officer is whose key lies in testdata.
func officer(t testing.TB) *signature.PrivateKey {
	t.Helper()
	key, err := signature.ParsePrivateKey(read(t, "officer.key"), nil)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func newKey(t testing.TB) *signature.PrivateKey {
	t.Helper()
	key, err := signature.Generate(signature.Ed25519)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

var (
	made = time.Date(2026, 11, 21, 9, 30, 0, 0, time.UTC)
	full = approval.Approval{
		Time: made, Destination: "harbor.example.com/mirror", Until: made.AddDate(0, 0, 7),
		Note: `looked at "scan.pdf" & <signed>`, Report: bundle.DigestOf([]byte("scan.pdf")),
	}
)

// The examples are what Sign makes, byte for byte, and count.
func TestExamples(t *testing.T) {
	index := bundle.DigestOf(read(t, "manifest-index.json"))
	public, err := signature.ParsePublicKeys(read(t, "officer.pub"))
	if err != nil {
		t.Fatal(err)
	}
	for name, a := range map[string]approval.Approval{"plain.approval": {Time: made}, "full.approval": full} {
		// A clock in another zone, and finer than seconds, makes no difference.
		a.Time = a.Time.Add(time.Millisecond).In(time.FixedZone("", 3600))
		got, err := approval.Sign(officer(t), index, a)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, '\n')
		if *update {
			if err := os.WriteFile(filepath.Join("testdata", name), got, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if want := read(t, name); string(got) != string(want) {
			t.Errorf("%s: Sign makes\n%s\nwant\n%s", name, got, want)
		}
		approved := judge(t, index, policy.Approvals{Party: partyOf(public...), Threshold: 1}, got)
		if err := approved.Err(); err != nil {
			t.Fatal(err)
		}
		f := approved.Files[0]
		if f.Signer.Key != public[0].Digest() || f.Approval.Key != public[0].Digest() || !f.Approval.Time.Equal(made) || f.Approval.Note != a.Note || f.Approval.Report != a.Report {
			t.Errorf("%s is read as %+v by %s", name, f.Approval, f.Signer)
		}
	}
}

func partyOf(keys ...signature.PublicKey) party.Party {
	p := party.Party{Name: "officers"}
	for _, key := range keys {
		p.Keys = append(p.Keys, party.Key{PublicKey: key})
	}
	return p
}

func judge(t testing.TB, index bundle.Digest, ask policy.Approvals, files ...[]byte) *approval.Approved {
	t.Helper()
	var detached []signature.Detached
	for _, content := range files {
		detached = append(detached, signature.Detached{Name: "x.approval", Content: content})
	}
	return approval.Case{Ask: &ask, ManifestIndex: index, Destination: "harbor.example.com/mirror/dhi", Now: made.AddDate(0, 0, 7)}.Judge(detached)
}

func TestWhatCounts(t *testing.T) {
	index, key := bundle.DigestOf([]byte("index")), officer(t)
	sign := func(key *signature.PrivateKey, over bundle.Digest, a approval.Approval) []byte {
		t.Helper()
		a.Time = made
		content, err := approval.Sign(key, over, a)
		if err != nil {
			t.Fatal(err)
		}
		return content
	}
	raw := func(predicateType, predicate string) []byte {
		t.Helper()
		content, err := signature.Attest(key, index, predicateType, json.RawMessage(predicate))
		if err != nil {
			t.Fatal(err)
		}
		return content
	}
	good := sign(key, index, approval.Approval{})
	fingerprint := key.Public().Fingerprint()
	for name, test := range map[string]struct {
		content []byte
		says    string // "": it counts
	}{
		"good":                     {good, ""},
		"all that is asked":        {sign(key, index, full), ""},
		"the host":                 {sign(key, index, approval.Approval{Destination: "harbor.example.com"}), ""},
		"the last second":          {sign(key, index, approval.Approval{Until: made.AddDate(0, 0, 7)}), ""},
		"no more than needed":      {raw(approval.PredicateType, `{"time":"2026-11-21T09:30:00Z"}`), ""},
		"another bundle":           {sign(key, bundle.EmptyJSON, approval.Approval{}), proof.ErrSubject.Error()},
		"by somebody":              {sign(newKey(t), index, approval.Approval{}), proof.ErrUntrusted.Error()},
		"another destination":      {sign(key, index, approval.Approval{Destination: "harbor.example.com/mirror/other"}), "by " + fingerprint + " on 2026-11-21T09:30:00Z, does not count: for another destination: harbor.example.com/mirror/other"},
		"half a name":              {sign(key, index, approval.Approval{Destination: "harbor.example.com/mirror/dh"}), "another destination"},
		"below the destination":    {sign(key, index, approval.Approval{Destination: "harbor.example.com/mirror/dhi/x"}), "another destination"},
		"over":                     {sign(key, index, approval.Approval{Until: made.AddDate(0, 0, 7).Add(-time.Second)}), "it has ended: 2026-11-28T09:29:59Z"},
		"over since the year 1":    {raw(approval.PredicateType, `{"time":"2026-11-21T09:30:00Z","until":"0001-01-01T00:00:00Z"}`), "the year 1"},
		"another key":              {raw(approval.PredicateType, `{"time":"2026-11-21T09:30:00Z","key":"`+index.String()+`"}`), "another key signed it"},
		"another predicate":        {raw("urn:airgap:approval:v2", `{"time":"2026-11-21T09:30:00Z"}`), `its predicate type is "urn:airgap:approval:v2"`},
		"a signature":              {must(t)(signature.Sign(key, index)), "no approval"},
		"more fields":              {raw(approval.PredicateType, `{"time":"2026-11-21T09:30:00Z","until ":"2026-11-21T09:30:00Z"}`), "until "},
		"a field in capitals":      {raw(approval.PredicateType, `{"time":"2026-11-21T09:30:00Z","Until":"2026-11-21T09:30:00Z"}`), "broken"},
		"a field twice":            {raw(approval.PredicateType, `{"time":"2026-11-21T09:30:00Z","destination":"a","destination":"harbor.example.com"}`), "broken"},
		"no time":                  {raw(approval.PredicateType, `{}`), "does not say when"},
		"no predicate":             {raw(approval.PredicateType, `null`), "broken"},
		"an array":                 {raw(approval.PredicateType, `[]`), "broken"},
		"a time in another zone":   {raw(approval.PredicateType, `{"time":"2026-11-21T10:30:00+01:00"}`), "broken"},
		"part of a second":         {raw(approval.PredicateType, `{"time":"2026-11-21T10:30:00.5Z"}`), "broken"},
		"no time of the calendar":  {raw(approval.PredicateType, `{"time":"2026-11-31T10:30:00Z"}`), "broken"},
		"two lines":                {raw(approval.PredicateType, `{"time":"2026-11-21T09:30:00Z","note":"a\nb"}`), "its note"},
		"a long line":              {raw(approval.PredicateType, `{"time":"2026-11-21T09:30:00Z","note":"`+strings.Repeat("a", 1025)+`"}`), "its note"},
		"a destination of 2 lines": {raw(approval.PredicateType, `{"time":"2026-11-21T09:30:00Z","destination":"harbor.example.com\nharbor.example.com/mirror"}`), "its destination"},
		"altered":                  {[]byte(strings.Replace(string(good), `"sig":"M`, `"sig":"N`, 1)), proof.ErrUntrusted.Error()},
		"nothing":                  {nil, "broken"},
		"too large":                {append(good, strings.Repeat(" ", signature.MaxSize)...), "broken"},
	} {
		t.Run(name, func(t *testing.T) {
			ask := policy.Approvals{Party: partyOf(newKey(t).Public(), key.Public()), Threshold: 1}
			for range 2 { // and nothing is accepted because it was tried again
				approved := judge(t, index, ask, test.content)
				if count := len(approved.Counting()); (count == 1) != (test.says == "") || (approved.Err() == nil) != (test.says == "") {
					t.Fatalf("%d count: %v", count, approved.Err())
				}
				if err := approved.Err(); err != nil && (!errors.Is(err, approval.ErrMissing) || !strings.Contains(err.Error(), test.says) || !strings.Contains(err.Error(), "x.approval: ") || strings.Count(err.Error(), "\n") != 1) {
					t.Errorf("it says %q, want %q", err, test.says)
				}
			}
		})
	}
}

func must(t *testing.T) func([]byte, error) []byte {
	return func(content []byte, err error) []byte {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return content
	}
}

func TestHowManyApprove(t *testing.T) {
	index := bundle.DigestOf([]byte("index"))
	a, b, packer := newKey(t), newKey(t), newKey(t)
	of := func(key *signature.PrivateKey, note string) []byte {
		return must(t)(approval.Sign(key, index, approval.Approval{Time: made, Note: note}))
	}
	for name, test := range map[string]struct {
		files    [][]byte
		distinct bool
		count    int
		says     string
	}{
		"two":                        {[][]byte{of(a, ""), of(b, "")}, true, 2, ""},
		"one":                        {[][]byte{of(a, "")}, true, 1, "there are 1 of the 2"},
		"none":                       {nil, true, 0, "there are 0 of the 2"},
		"one twice":                  {[][]byte{of(a, ""), of(a, "again")}, false, 1, "by who approved already"},
		"the packer":                 {[][]byte{of(a, ""), of(packer, "")}, true, 1, "by who signed the bundle"},
		"the packer, which is right": {[][]byte{of(a, ""), of(packer, "")}, false, 2, ""},
		"bad ones do not spoil":      {[][]byte{[]byte("{}"), of(a, ""), nil, of(b, ""), of(newKey(t), "")}, true, 2, ""},
	} {
		t.Run(name, func(t *testing.T) {
			ask := policy.Approvals{Party: partyOf(a.Public(), b.Public(), packer.Public(), a.Public()), Threshold: 2, DistinctFromBundle: test.distinct}
			c := approval.Case{Ask: &ask, ManifestIndex: index, Signers: []party.Signer{{Key: packer.Public().Digest()}}, Now: made}
			var files []signature.Detached
			for _, content := range test.files {
				files = append(files, signature.Detached{Name: "x", Content: content})
			}
			approved := c.Judge(files)
			if err := approved.Err(); len(approved.Counting()) != test.count || (err == nil) != (test.says == "") || err != nil && !strings.Contains(err.Error(), test.says) {
				t.Errorf("%d count, want %d: %v", len(approved.Counting()), test.count, err)
			}
		})
	}
	revoked := policy.Approvals{Party: partyOf(a.Public()), Threshold: 1}
	revoked.Party.Revoked = map[bundle.Digest]bool{a.Public().Digest(): true}
	if err := judge(t, index, revoked, of(a, "")).Err(); err == nil || !strings.Contains(err.Error(), proof.ErrRevoked.Error()) {
		t.Errorf("by a key that is revoked: %v", err)
	}
	if err := (*approval.Approved)(nil).Err(); err != nil {
		t.Errorf("none are asked for: %v", err)
	}
	unknown := approval.Case{Ask: &policy.Approvals{Party: partyOf(a.Public()), Threshold: 1}, ManifestIndex: index, Now: made}
	for destination, count := range map[string]int{"": 1, "harbor.example.com": 0} { // where it is to go is not known
		content := must(t)(approval.Sign(a, index, approval.Approval{Time: made, Destination: destination}))
		if got := unknown.Judge([]signature.Detached{{Content: content}}); len(got.Counting()) != count {
			t.Errorf("for %q: %v", destination, got.Err())
		}
	}
}

// What cannot be read again is not signed.
func TestSignRefuses(t *testing.T) {
	for name, a := range map[string]approval.Approval{
		"no time":     {},
		"two lines":   {Time: made, Note: "a\nb"},
		"destination": {Time: made, Destination: "a\x7f"},
	} {
		if content, err := approval.Sign(officer(t), bundle.EmptyJSON, a); err == nil {
			t.Errorf("%s: %s", name, content)
		}
	}
}

// Nothing but what officer.key signed counts, and reading does not fail.
func FuzzJudge(f *testing.F) {
	index := bundle.DigestOf(read(f, "manifest-index.json"))
	ask := policy.Approvals{Party: partyOf(officer(f).Public()), Threshold: 1}
	known := map[string]bool{}
	for _, name := range []string{"plain.approval", "full.approval"} {
		content := read(f, name)
		f.Add(content)
		for _, counting := range judge(f, index, ask, content).Counting() {
			known[counting.Approval.Time.String()+counting.Approval.Note] = true
		}
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		approved := judge(t, index, ask, content)
		if err := approved.Err(); err != nil && strings.Count(err.Error(), "\n") != 1 {
			t.Errorf("more than a line: %q", err)
		}
		for _, counting := range approved.Counting() {
			if !known[counting.Approval.Time.String()+counting.Approval.Note] {
				t.Errorf("%s counts as %+v", content, counting.Approval)
			}
		}
	})
}
