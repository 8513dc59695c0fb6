package policy_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"airgap/verify/policy"
	"airgap/verify/policy/policytest"
)

var today = time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC)

// Each policy is right and has exactly the findings that are wanted, at their places; a policy that means what it seems to has none.
func TestFindings(t *testing.T) {
	files := world(t)
	_, files["ended.pem"] = policytest.Key(t, today.Add(-time.Hour))
	files["ends.pem"] = files["dhi.crt.pem"] + files["dhi.pub"]
	const head = "version: 1\nimages:\n"
	match := func(globs string) string { return head + "  - {match: " + globs + ", carry: true}\n" }
	signed := func(party string) string {
		return head + "  - match: docker.io/acme/*\n    signatures: {" + party + "}\n"
	}
	identity := func(text string) string {
		return signed("identities: {" + text + "}, trustedRoot: trusted_root.json")
	}
	attested := func(demand string) string {
		return head + "  - match: docker.io/acme/*\n    attestations: {keys: dhi.pub, " + demand + "}\n"
	}
	const subject = `issuer: https://i, subjectExpression: `
	for name, c := range map[string]struct {
		policy string
		want   []string
	}{
		"right":        {match("docker.io/acme/dhi-*"), nil},
		"everything":   {match("'**'"), nil},
		"whole host":   {match("docker.io/**"), nil},
		"hosts":        {match("'*.example.com/acme/**'"), nil},
		"port":         {match("localhost:5000/acme/app"), nil},
		"tag":          {match("docker.io/acme/app:v1*"), nil},
		"last element": {match("docker.io/acme/app*"), nil},

		"namespace open":  {match("docker.io/acme*"), []string{"3:13: \"docker.io/acme*\" matches nothing", "3:13: \"docker.io/acme*\" also matches what is in docker.io/acme-evil"}},
		"namespace open2": {match("docker.io/acme*/app"), []string{"3:13: \"docker.io/acme*/app\" also matches what is in docker.io/acme-evil"}},
		"namespace open3": {match("quay.io/acme**"), []string{"also matches what is in quay.io/acme-evil"}},
		"host open":       {match("docker.io*/acme/app"), []string{"also matches what is in docker.io.evil.example"}},
		"host begins":     {match("'*example.com/acme/app'"), []string{"also matches registries like evil-example.com"}},
		"no host":         {match("alpine"), []string{"matches nothing: sources begin with their registry"}},
		"scheme":          {match("https://docker.io/acme/app"), []string{"matches nothing: sources have no scheme"}},
		"no library":      {match("docker.io/alpine"), []string{"is in docker.io/library/"}},
		"other name":      {match("index.docker.io/acme/app"), []string{"Docker Hub is docker.io here"}},
		"upper case":      {match("docker.io/Acme/app"), []string{"no upper-case letters"}},

		"expression":       {identity(subject + `'https://github\.com/acme/.+'`), nil},
		"dot":              {identity(subject + `'https://github.com/acme/.+'`), []string{`4:69: "https://github.com/acme/.+" has a dot that stands for any character, after "https://github"`}},
		"alternatives":     {identity(subject + `'https://a/x|https://b/y'`), []string{"put them into parentheses"}},
		"grouped":          {identity(subject + `'https://(a|b)/[x|y]'`), nil},
		"begins with any":  {identity(subject + `'.*@acme\.com'`), []string{"matches whatever comes before"}},
		"goes on":          {identity(subject + `'https://github\.com/acme.*'`), []string{"goes on after a name that it has begun"}},
		"everybody":        {identity(subject + `.*`), []string{`".*" matches everybody`}},
		"any issuer":       {identity(`issuerExpression: .+, subject: s`), []string{`".+" matches everybody`}},
		"star in issuer":   {identity(`issuer: https://*, subject: s`), []string{"is compared as it stands"}},
		"star in subject":  {identity(`issuer: https://i, subject: https://github.com/acme/*`), []string{"is compared as it stands"}},
		"root without log": {signed("identities: {issuer: a, subject: b}, trustedRoot: other_root.json"), []string{"no transparency log and no timestamp authority"}},

		"keys twice":        {signed("keys: [dhi.pub, dhi.crt.pem]"), []string{"dhi.crt.pem has the same key as dhi.pub"}},
		"ended":             {signed("keys: ended.pem"), []string{`4:24: the certificate in "ended.pem" ended on 2026-05-31; its key counts all the same`}},
		"not ended":         {signed("keys: dhi.crt.pem"), nil},
		"ended authority":   {signed("notation: {certificates: ended.pem, identities: '*'}"), []string{"only what a timestamp shows"}},
		"too few":           {signed("keys: dhi.pub, threshold: 2"), []string{"2 different ones must have signed, and there are only 1"}},
		"twice is too few":  {signed("keys: [dhi.pub, dhi.crt.pem], threshold: 2"), []string{"same key", "2 different ones must have signed, and there are only 1"}},
		"revoked":           {signed("keys: [dhi.pub, packers], revoked: dhi.crt.pem"), []string{"the key dhi.pub is revoked"}},
		"revoked, too few":  {signed("keys: dhi.pub, revoked: dhi.crt.pem"), []string{"the key dhi.pub is revoked", "there are only 0"}},
		"age of keys":       {signed("keys: dhi.pub, maxAge: 30d"), []string{"maxAge can never be met"}},
		"age of identities": {signed("identities: {issuer: a, subject: b}, trustedRoot: trusted_root.json, maxAge: 30d"), nil},
		"idle":              {"version: 1\nsigners: {a: {keys: dhi.pub}}\n" + match("docker.io/a/b")[len("version: 1\n"):], []string{`2:11: nothing asks for "a"`}},

		"age known":      {attested("type: https://slsa.dev/provenance/v1, maxAge: 1d"), nil},
		"age told":       {attested("type: https://x/y, maxAge: 1d, time: $.predicate.at"), nil},
		"age unknown":    {attested("type: https://x/y, maxAge: 1d"), []string{"4:19: maxAge can never be met: where a statement of type https://x/y says its time"}},
		"short type":     {attested("type: slsaprovenance"), []string{"stands https://slsa.dev/provenance/v0.2"}},
		"no type":        {attested("type: sbom"), []string{"is no URI"}},
		"any type":       {attested("type: '**'"), []string{"nearly any attestation"}},
		"leads nowhere":  {attested("type: https://x/y, expect: {path: $.builder.id, is: a}"), []string{"$.builder.id leads nowhere"}},
		"contradiction":  {attested("type: https://x/y, expect: [{path: $.predicate.a, is: a}, {path: $.predicate.a, in: [b, c]}]"), []string{"both can never hold"}},
		"contradiction2": {attested("type: https://x/y, expect: [{path: $.predicate.a, is: 1}, {path: \"$['predicate'].a\", exists: false}]"), []string{"both can never hold"}},
		"compatible":     {attested("type: https://x/y, expect: [{path: $.predicate.a, is: 1}, {path: $.predicate.a, in: [1.0, 2]}]"), nil},

		"bundle":                {"version: 1\nbundle: {keys: packers, threshold: 2, approvals: {keys: officers, threshold: 2, distinctFrom: bundle}}", nil},
		"bundle, too few":       {"version: 1\nbundle: {keys: packers, threshold: 3}", []string{"2:9: 3 different ones must have signed, and there are only 2"}},
		"one person":            {"version: 1\nbundle: {keys: [packers, officers/x.pub], approvals: {keys: officers}}", []string{"1 of the keys that approve may also sign the bundle"}},
		"distinct, none left":   {"version: 1\nbundle: {keys: officers/x.pub, approvals: {keys: [officers/x.pub, officers/y.pub], threshold: 2, distinctFrom: bundle}}", []string{"2:43: 2 approvals can never be had: who signed the bundle does not count, and that leaves 1"}},
		"distinct, enough left": {"version: 1\nbundle: {keys: [packers, officers/x.pub], approvals: {keys: [officers/x.pub, officers/y.pub], threshold: 2, distinctFrom: bundle}}", nil},

		"never":         {match("docker.io/**") + "  - {match: docker.io/acme/*, deny: x}", []string{"4:5: this rule never decides: the rule docker.io/** at trust.yaml:3:5 decides"}},
		"partly never":  {match("docker.io/acme/*") + "  - {match: ['docker.io/acme/a', 'ghcr.io/a/b'], deny: x}", []string{"4:5: docker.io/acme/a never decides here"}},
		"never by two":  {match("['docker.io/acme/a*', 'docker.io/acme/b*']") + "  - {match: 'docker.io/acme/{a,b}?', deny: x}", []string{"rules before it decide"}},
		"braces":        {match("'docker.io/{acme,other}/*'") + "  - {match: docker.io/acme/x, deny: x}", []string{"never decides"}},
		"other braces":  {match("'docker.io/{acme,other}/*'") + "  - {match: docker.io/more/x, deny: x}", nil},
		"deeper":        {match("docker.io/acme/*") + "  - {match: 'docker.io/acme/**', deny: x}", nil},
		"same":          {match("docker.io/acme/*") + "  - {match: docker.io/acme/*, deny: x}", []string{"never decides"}},
		"tags after":    {match("docker.io/acme/app:1.*") + "  - {match: 'docker.io/acme/app:1.2', deny: x}", []string{"never decides"}},
		"other tags":    {match("docker.io/acme/app:1.*") + "  - {match: 'docker.io/acme/app:2.*', deny: x}", nil},
		"tag then all":  {match("docker.io/acme/app:*") + "  - {match: docker.io/acme/app, deny: x}", nil},
		"one character": {match("'docker.io/acme/?'") + "  - {match: docker.io/acme/*, deny: x}", nil},
		"last rule":     {match("docker.io/acme/*") + "  - {match: '**', deny: x}", nil},
	} {
		p, err := policy.Parse("trust.yaml", []byte(c.policy), files)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		var got []string
		for _, f := range p.Findings(today) {
			got = append(got, strings.TrimPrefix(f.Position, "trust.yaml:")+": "+f.Message)
		}
		if !slices.EqualFunc(got, c.want, strings.Contains) {
			t.Errorf("%s:\n%s\nwant\n%s", name, strings.Join(got, "\n"), strings.Join(c.want, "\n"))
		}
	}
}

// A thousand rules are looked through in the time of a moment.
func TestFindingsOfManyRules(t *testing.T) {
	var b strings.Builder
	b.WriteString("version: 1\nimages:\n")
	for i := range 1000 {
		fmt.Fprintf(&b, "  - {match: 'docker.io/acme/{a,b}*/**/app-%d', carry: true}\n", i)
	}
	p := parse(t, policytest.Files{}, b.String())
	begun := time.Now()
	if found := p.Findings(today); len(found) != 0 {
		t.Errorf("%v", found[0])
	}
	if took := time.Since(begun); took > 30*time.Second {
		t.Errorf("took %s", took)
	}
}

// The sentences say everything that a policy asks for.
func TestDescribe(t *testing.T) {
	p := parse(t, world(t), `
version: 1
signers:
  docker: {keys: dhi.pub}
bundle:
  keys: [{directory: packers, mirrors: [m]}]
  threshold: 2
  maxAge: 14d12h
  approvals: {keys: officers, threshold: 2, distinctFrom: bundle}
images:
  - match: docker.io/acme/*
    name: ours
    signatures: {by: docker, covers: index, reference: source}
    attestations:
      - {type: [https://a/b, https://c/d], by: docker, every: index, maxAge: 30d, expect: [{path: $.predicate.x, is: "y"}, {path: $.predicate.n, atMost: 3}]}
      - {type: https://e/f, unsigned: true, every: any, optional: true}
  - {match: quay.io/**, deny: not from there}
  - {match: ghcr.io/**, carry: true}
`)
	got := strings.Join(p.Describe(), "\n")
	for _, want := range []string{
		"docker is the key dhi.pub (sha256:", "A bundle counts when it is signed by 2 of the key packers/a.pub (sha256:", " for the mirrors m", "It may be 14d12h old.",
		"An import needs the approval of 2 of the key officers/x.pub", "; who signed the bundle does not count.",
		"Images docker.io/acme/* (ours):\n  Each platform, or an index that lists it, is signed by docker; the signature names the repository of the source.",
		"  The index, or a single manifest, has an attestation https://a/b or https://c/d, signed by docker", `, in which $.predicate.x is "y" and $.predicate.n is at most 3, at most 30d ago.`,
		"  The index or any platform may have an attestation https://e/f, which nobody has to have signed; where there is one, it is good.",
		"Images quay.io/** are refused: not from there\n", "Images ghcr.io/** are carried, and nothing is asked of them.\n", "Images that no rule matches are refused.",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is lacking in\n%s", want, got)
		}
	}
}
