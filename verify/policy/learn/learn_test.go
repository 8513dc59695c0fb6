package learn

import (
	"strings"
	"testing"
	"time"

	"github.com/sigstore/sigstore-go/pkg/root"

	"airgap/verify/judge"
	"airgap/verify/party"
	"airgap/verify/policy"
	"airgap/verify/policy/policytest"
	"airgap/verify/proof"
	"airgap/verify/signature"
)

// Images become rules that ask for what all of their manifests have, and no more; whatever texts from outside are in it, the policy
// can be read.
func TestWrite(t *testing.T) {
	public, certificate := policytest.Key(t, time.Date(2099, 1, 1, 0, 0, 0, 0, time.UTC))
	files := policytest.Files{"keys/my team.pub": public, "trusted_root.json": policytest.TrustedRoot(t, certificate, true)}
	keys, err := signature.ParsePublicKeys([]byte(public))
	if err != nil {
		t.Fatal(err)
	}
	team, rooted := newCandidate(&Candidate{File: "keys/my team.pub", Keys: keys}), newCandidate(&Candidate{File: "trusted_root.json"})
	if rooted.Root, err = root.NewTrustedRootFromJSON([]byte(files["trusted_root.json"])); err != nil {
		t.Fatal(err)
	}
	l := &learner{candidates: []*candidate{team, rooted}}
	byTeam := l.signer(team, party.Signer{Key: keys[0].Digest()})
	byFlow := l.signer(rooted, party.Signer{Issuer: "https://i", Subject: "sub: \"x\"\n# y"})
	if again := l.signer(rooted, party.Signer{Issuer: "https://i", Subject: "sub: \"x\"\n# y"}); again != byFlow || len(l.signers) != 2 {
		t.Errorf("%+v", l.signers)
	}

	signed := func(by *signer, reference string) fact {
		return fact{kind: proof.Signature, by: by, reference: reference}
	}
	says := func(predicateType string, by *signer, builder string) fact {
		return fact{kind: proof.Attestation, predicateType: predicateType, by: by, says: map[string]string{"$.predicate.builder.id": builder}}
	}
	index := func(facts ...fact) subject {
		return subject{Subject: judge.Subject{IsIndex: true, Lists: []int{1, 2}}, facts: facts}
	}
	platform := func(name string, facts ...fact) subject {
		return subject{Subject: judge.Subject{Platform: name}, facts: facts, notes: []string{"a signature by nobody who was given: \"x\\ny\""}}
	}
	single := func(source string, facts ...fact) image {
		return image{source, []subject{{facts: facts}}}
	}
	images := []image{
		{"docker.io/acme/app:1", []subject{
			index(signed(byFlow, "docker.io/acme/app"), says("https://x/index", byTeam, "b")),
			platform("linux/amd64", signed(byTeam, ""), signed(byFlow, "docker.io/acme/app"), says("https://x/all", byTeam, "b"), says("https://x/one", nil, "c")),
			platform("linux/arm64", signed(byTeam, ""), says("https://x/all", byTeam, "other")),
		}},
		single("docker.io/acme/a:1", signed(byTeam, "")), single("docker.io/acme/a:2", signed(byTeam, "")), // one rule, with b
		single("docker.io/acme/b@sha256:"+strings.Repeat("0", 64), signed(byTeam, "")),
		single("docker.io/acme/c:1", signed(byTeam, "")), single("docker.io/acme/c:2"), // tags that differ
		single("[::1]:5000/acme/d:1", says("https://x/{a,b}*", byTeam, "")), // a type that would match others
	}
	text := string(l.write(images, []party.Signer{{Key: keys[0].Digest()}}))
	p, err := policy.Parse("learnt.yaml", []byte(text), files)
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	for _, want := range []string{
		"  my-team: {keys: \"keys/my team.pub\"}\n", "bundle:\n  keys: [\"keys/my team.pub\"]\n",
		"  - match: [\"docker.io/acme/app\"]\n    signatures:\n      - {by: my-team}\n      - {by: identity, covers: index, reference: source}\n" +
			"    attestations:\n      - {type: \"https://x/all\", by: my-team}\n      - {type: \"https://x/index\", by: my-team, every: index, expect: [{path: $.predicate.builder.id, is: \"b\"}]}\n" +
			"      - {type: \"https://x/one\", unsigned: true, every: any, expect: [{path: $.predicate.builder.id, is: \"c\"}]}\n",
		"  - match: [\"docker.io/acme/a\", \"docker.io/acme/b\", \"docker.io/acme/c:1\"]\n    signatures:\n      - {by: my-team}\n",
		"  - match: [\"?::1?:5000/acme/d\", \"docker.io/acme/c:2\"]\n    carry: true\n",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is lacking in\n%s", want, text)
		}
	}
	for source, carried := range map[string]bool{"docker.io/acme/c:2": true, "[::1]:5000/acme/d:1": true, "docker.io/acme/c:1": false, "docker.io/acme/a:2": false} {
		if r := p.Rule(source); r == nil || r.Carry != carried {
			t.Errorf("%s: %+v", source, r)
		}
	}
	for _, r := range p.Images {
		for _, d := range r.Signatures {
			for _, id := range d.Party.Identities {
				if id.Issuer != "https://i" || id.Subject != "sub: \"x\"\n# y" {
					t.Errorf("%+v", id)
				}
			}
		}
	}
}
