package policy_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"airgap/bundle"
	"airgap/verify/policy"
	"airgap/verify/policy/policytest"
	"airgap/verify/signature"
)

var never = time.Date(2099, 1, 1, 0, 0, 0, 0, time.UTC)

// world has the files that the policies of these tests name.
func world(t testing.TB) policytest.Files {
	t.Helper()
	files := policytest.Files{}
	var authority string
	for _, name := range []string{"dhi", "packers/a", "packers/b", "officers/x", "officers/y", "officers/z"} {
		var certificate string
		files[name+".pub"], certificate = policytest.Key(t, never)
		if authority == "" {
			authority = certificate
		}
	}
	files["packers/README"] = "not a key"
	files["dhi.crt.pem"] = authority
	files["ca/root.crt"] = authority
	files["trusted_root.json"] = policytest.TrustedRoot(t, authority, true)
	_, other := policytest.Key(t, never)
	files["other_root.json"] = policytest.TrustedRoot(t, other, false)
	return files
}

func parse(t testing.TB, files policytest.Files, text string) *policy.Policy {
	t.Helper()
	p, err := policy.Parse("trust.yaml", []byte(text), files)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// The policy with which POLICY.md begins is one.
func TestParsePageExample(t *testing.T) {
	page, err := os.ReadFile("POLICY.md")
	if err != nil {
		t.Fatal(err)
	}
	_, example, _ := strings.Cut(string(page), "```yaml\n")
	example, _, _ = strings.Cut(example, "```")
	p := parse(t, world(t), example)
	if b := p.Bundle; len(b.Party.Keys) != 2 || b.Party.Keys[0].Where != "packers/a.pub" || b.Threshold != 1 || b.MaxAge != 14*24*time.Hour ||
		len(b.Approvals.Party.Keys) != 3 || b.Approvals.Threshold != 2 || !b.Approvals.DistinctFromBundle {
		t.Errorf("bundle: %+v", b)
	}
	if p.Digest != bundle.DigestOf([]byte(example)) || !p.Judges || p.Unmatched != policy.Refuse || len(p.Images) != 3 {
		t.Errorf("%+v", p)
	}
	dhi, own := p.Images[0], p.Images[1]
	if d := dhi.Attestations[1]; dhi.Name != "docker.io/acme/dhi-*" || len(dhi.Attestations) != 2 || d.Party.Name != "docker" || len(d.Party.Keys) != 1 || d.MaxAge != 30*24*time.Hour || d.Every != policy.EveryPlatform {
		t.Errorf("%+v", dhi)
	}
	if d := own.Signatures[0]; !d.CoversIndex || d.Threshold != 1 || d.Party.Root == nil || d.Party.Identities[0].Issuer == "" ||
		!d.Party.Identities[0].SubjectExpression.MatchString("https://github.com/acme/x") || d.Party.Identities[0].SubjectExpression.MatchString("x https://github.com/acme/x") {
		t.Errorf("%+v", d)
	}
	if line := strings.Count(example[:strings.Index(example, "- match: ghcr")], "\n") + 1; own.Position != fmt.Sprintf("trust.yaml:%d:5", line) {
		t.Errorf("position %s", own.Position)
	}
}

// Everything that a key of a policy can say wrongly is told by its place; nothing of a wrong policy is used.
func TestParseRefuses(t *testing.T) {
	files := world(t)
	files["bad.pub"] = "no key"
	files["empty/x.txt"] = ""
	private, err := os.ReadFile("../signature/testdata/ed25519.plain.key")
	if err != nil {
		t.Fatal(err)
	}
	files["keys/private.pem"] = string(private)
	weak, err := os.ReadFile("../signature/testdata/refused-rsa1024.pub")
	if err != nil {
		t.Fatal(err)
	}
	files["weak.pub"] = string(weak)
	files["large.pub"] = strings.Repeat("\n", 1<<20+1)

	rule := func(text string) string {
		return "version: 1\nimages:\n  - match: docker.io/acme/*\n    " + text + "\n"
	}
	for name, c := range map[string]struct{ policy, want string }{
		"empty":               {"", "trust.yaml:1:1: the policy has no version"},
		"a list":              {"- a", "the policy is a list"},
		"version as text":     {`version: "1"`, `trust.yaml:1:10: version is "1"; this airgap knows version 1`},
		"version 2":           {"version: 2", `version is "2"`},
		"version 1.0":         {"version: 1.0", `version is "1.0"`},
		"near miss":           {"version: 1\nunmached: carry", `trust.yaml:2:1: unknown key "unmached" in the policy: did you mean "unmatched"?`},
		"unknown key":         {"version: 1\nx-own: 1", `trust.yaml:2:1: unknown key "x-own" in the policy`},
		"twice":               {"version: 1\nversion: 1", `the key "version" is there twice`},
		"two documents":       {"version: 1\n---\nversion: 1", "more than one document"},
		"unmatched alone":     {"version: 1\nunmatched: carry", "unmatched does nothing without images"},
		"unmatched otherwise": {rule("carry: true") + "unmatched: warn", `trust.yaml:5:12: "warn": refuse or carry is expected`},
		"unmatched nothing":   {rule("carry: true") + "unmatched:", "trust.yaml:5:11: nothing is here"},
		"no rules":            {"version: 1\nimages: []", "images without a rule"},
		"images null":         {"version: 1\nimages:", "images is nothing"},

		"no match":        {"version: 1\nimages: [{carry: true}]", "a rule without match"},
		"match empty":     {"version: 1\nimages: [{match: [], carry: true}]", "an empty list says nothing"},
		"empty glob":      {"version: 1\nimages: [{match: '', carry: true}]", "an empty glob"},
		"class in glob":   {"version: 1\nimages: [{match: 'docker.io/[ab]/*', carry: true}]", "globs have *, **, ? and {a,b}"},
		"open brace":      {"version: 1\nimages: [{match: 'docker.io/{a,b/*', carry: true}]", "a { without its }"},
		"closed brace":    {"version: 1\nimages: [{match: 'docker.io/a,b}/*', carry: true}]", "a } without its {"},
		"asks nothing":    {rule("name: x"), "trust.yaml:3:5: a rule that asks for nothing"},
		"deny and carry":  {rule("deny: no\n    carry: true"), "and not several of these"},
		"deny and asks":   {rule("deny: no\n    signatures: {keys: dhi.pub}"), "and not several of these"},
		"deny true":       {rule("deny: true"), `trust.yaml:4:11: "true": a text is expected`},
		"deny blank":      {rule("deny: ' '"), "deny has to give a reason"},
		"carry false":     {rule("carry: false"), "carry can only be true"},
		"carry quoted":    {rule("carry: 'true'"), "true or false is expected, without quotes"},
		"signatures null": {rule("signatures:"), "nothing is here, but a value is expected"},
		"no signatures":   {rule("signatures: []"), "an empty list says nothing"},

		"nobody":              {rule("signatures: {threshold: 1}"), "nobody is named here"},
		"by nobody":           {rule("signatures: {by: someone}"), `there is no "someone" in signers`},
		"threshold 0":         {rule("signatures: {keys: dhi.pub, threshold: 0}"), "a whole number from 1 on is expected"},
		"threshold text":      {rule("signatures: {keys: dhi.pub, threshold: '2'}"), "a whole number from 1 on is expected"},
		"threshold null":      {rule("signatures: {keys: dhi.pub, threshold: }"), "nothing is here"},
		"maxAge nothing":      {rule("signatures: {keys: dhi.pub, maxAge: 0d}"), "an age is expected"},
		"maxAge number":       {rule("signatures: {keys: dhi.pub, maxAge: 30}"), `"30": a text is expected`},
		"maxAge rising":       {rule("signatures: {keys: dhi.pub, maxAge: 12h1d}"), "an age is expected"},
		"maxAge twice a unit": {rule("signatures: {keys: dhi.pub, maxAge: 1d1d}"), "an age is expected"},
		"maxAge fraction":     {rule("signatures: {keys: dhi.pub, maxAge: 1.5d}"), "an age is expected"},
		"maxAge too long":     {rule("signatures: {keys: dhi.pub, maxAge: 9999999999w}"), "an age is expected"},
		"covers":              {rule("signatures: {keys: dhi.pub, covers: all}"), "platform or index is expected"},
		"source and globs":    {rule("signatures: {keys: dhi.pub, reference: [source, docker.io/**]}"), "and not both"},
		"scope in a rule":     {rule("signatures: {keys: {file: dhi.pub, mirrors: a}}"), "stand with the keys and identities of bundle alone"},

		"no type":           {rule("attestations: {keys: dhi.pub}"), "without its type"},
		"unsigned by":       {rule("attestations: {type: a, unsigned: true, keys: dhi.pub}"), "nobody has to have signed it"},
		"neither":           {rule("attestations: {type: a}"), "nobody is named here"},
		"every":             {rule("attestations: {type: a, keys: dhi.pub, every: image}"), "platform, index or any is expected"},
		"time":              {rule("attestations: {type: a, keys: dhi.pub, time: predicate.x}"), "does not begin with $"},
		"no path":           {rule("attestations: {type: a, keys: dhi.pub, expect: {is: 1}}"), "a condition without a path"},
		"no test":           {rule("attestations: {type: a, keys: dhi.pub, expect: {path: $.a}}"), "a condition has one of"},
		"two tests":         {rule("attestations: {type: a, keys: dhi.pub, expect: {path: $.a, is: 1, in: [1]}}"), "a condition has one of"},
		"is a list":         {rule("attestations: {type: a, keys: dhi.pub, expect: {path: $.a, is: [1]}}"), "a text, a number, true, false or null is expected"},
		"is nothing":        {rule("attestations: {type: a, keys: dhi.pub, expect: {path: $.a, is: }}"), "a text, a number, true, false or null is expected"},
		"is a date":         {rule("attestations: {type: a, keys: dhi.pub, expect: {path: $.a, is: 2026-01-01}}"), "put it into quotes"},
		"is hexadecimal":    {rule("attestations: {type: a, keys: dhi.pub, expect: {path: $.a, is: 0x10}}"), "put it into quotes"},
		"is infinite":       {rule("attestations: {type: a, keys: dhi.pub, expect: {path: $.a, atMost: .inf}}"), "a number is expected"},
		"exists maybe":      {rule("attestations: {type: a, keys: dhi.pub, expect: {path: $.a, exists: yes}}"), "true or false is expected"},
		"at most a text":    {rule("attestations: {type: a, keys: dhi.pub, expect: {path: $.a, atMost: '1'}}"), "a number is expected"},
		"decode":            {rule("attestations: {type: a, keys: dhi.pub, expect: {path: $.a, is: a, decode: hex}}"), "base64 is expected"},
		"decode nothing":    {rule("attestations: {type: a, keys: dhi.pub, expect: {path: $.a, exists: true, decode: base64}}"), "nothing to decode"},
		"descent":           {rule("attestations: {type: a, keys: dhi.pub, expect: {path: $..a, is: 1}}"), "not in the part of JSONPath"},
		"filter":            {rule("attestations: {type: a, keys: dhi.pub, expect: {path: '$[?@.a]', is: 1}}"), "is expected at"},
		"name with a dash":  {rule("attestations: {type: a, keys: dhi.pub, expect: {path: $.a-b, is: 1}}"), "is expected at"},
		"index with a zero": {rule("attestations: {type: a, keys: dhi.pub, expect: {path: '$[01]', is: 1}}"), "is expected at"},

		"no file":          {rule("signatures: {keys: gone.pub}"), `trust.yaml:4:24: "gone.pub" cannot be read`},
		"no key":           {rule("signatures: {keys: bad.pub}"), `"bad.pub": unusable key`},
		"weak key":         {rule("signatures: {keys: weak.pub}"), "RSA of 1024 bits"},
		"large":            {rule("signatures: {keys: large.pub}"), "more than 1 MiB"},
		"private":          {rule("signatures: {keys: keys/}"), `"keys/private.pem": unusable key: this is a private key`},
		"no keys in it":    {rule("signatures: {keys: empty}"), `the directory "empty" has no file *.pub, *.pem`},
		"no directory":     {rule("signatures: {keys: gone/}"), "the directory cannot be read"},
		"inline damaged":   {rule("signatures: {keys: \"-----BEGIN PUBLIC KEY-----\\nMFkw\\n\"}"), "damaged PEM block"},
		"key number":       {rule("signatures: {keys: 1}"), "a text is expected"},
		"key of two":       {"version: 1\nbundle: {keys: {file: dhi.pub, pem: x}}", "one of file, directory and pem"},
		"no root":          {rule("signatures: {identities: {issuer: a, subject: b}}"), "identities need a trustedRoot"},
		"root alone":       {rule("signatures: {keys: dhi.pub, trustedRoot: trusted_root.json}"), "trustedRoot does nothing without identities"},
		"no such root":     {rule("signatures: {identities: {issuer: a, subject: b}, trustedRoot: dhi.pub}"), `"dhi.pub" is not a trusted_root.json`},
		"no subject":       {rule("signatures: {identities: {issuer: a}, trustedRoot: trusted_root.json}"), "an identity without subject or subjectExpression"},
		"both issuers":     {rule("signatures: {identities: {issuer: a, issuerExpression: a, subject: b}, trustedRoot: trusted_root.json}"), "and not both"},
		"empty subject":    {rule("signatures: {identities: {issuer: a, subject: ''}, trustedRoot: trusted_root.json}"), "an empty subject"},
		"bad expression":   {rule("signatures: {identities: {issuer: a, subjectExpression: '('}, trustedRoot: trusted_root.json}"), "not a regular expression"},
		"ends the group":   {rule("signatures: {identities: {issuer: a, subjectExpression: 'a)|(.*'}, trustedRoot: trusted_root.json}"), "not a regular expression"},
		"empty expression": {rule("signatures: {identities: {issuer: a, subjectExpression: ''}, trustedRoot: trusted_root.json}"), "not a regular expression"},
		"two roots":        {"version: 1\nsigners:\n  a: {identities: {issuer: a, subject: b}, trustedRoot: trusted_root.json}\n  b: {identities: {issuer: a, subject: b}, trustedRoot: other_root.json}\n" + "images: {match: '**', signatures: {by: [a, b]}}", `"b" has another trustedRoot`},
		"revoked":          {rule("signatures: {keys: dhi.pub, revoked: 'sha256:00'}"), "sha256"},

		"notation, no certificates": {rule("signatures: {notation: {identities: '*'}}"), "notation without certificates"},
		"notation, no identities":   {rule("signatures: {notation: {certificates: ca}}"), "notation without identities"},
		"notation, no certificate":  {rule("signatures: {notation: {certificates: dhi.pub, identities: '*'}}"), "certificates are expected"},
		"notation, not DER":         {rule("signatures: {notation: {certificates: bad.pub, identities: '*'}}"), "bad.pub"},
		"notation, identity":        {rule("signatures: {notation: {certificates: ca, identities: CN=x}}"), `an identity is "x509.subject`},
		"notation, half identity":   {rule("signatures: {notation: {certificates: ca, identities: 'x509.subject: C=US, O=acme'}}"), `no mandatory RDN attribute for "ST"`},
		"notation, one in another":  {rule("signatures: {notation: {certificates: ca, identities: ['x509.subject: C=US, ST=WA, O=acme', 'x509.subject: C=US, ST=WA, O=acme, CN=x']}}"), "overlap"},
		"notation for a bundle":     {"version: 1\nbundle: {notation: {certificates: ca, identities: '*'}}", `unknown key "notation" in bundle`},

		"notation by name": {"version: 1\nsigners: {s: {notation: {certificates: ca, identities: '*'}}}\nbundle: {by: s}", "trust.yaml:3:9: s has a Notation trust store"},
		"signers, name":    {"version: 1\nsigners: {1a: {keys: dhi.pub}}", `"1a" is not a name`},
		"signers by":       {"version: 1\nsigners: {a: {keys: dhi.pub}, b: {by: a}}", "not made of others"},
		"signers, nobody":  {"version: 1\nsigners: {a: {revoked: dhi.pub}}", "trust.yaml:2:11: nobody is named here"},
		"bundle, nobody":   {"version: 1\nbundle: {maxAge: 14d}", "nobody is named here"},
		"distinctFrom":     {"version: 1\nbundle: {keys: dhi.pub, approvals: {keys: officers, distinctFrom: packers}}", "bundle is expected"},
		"mirror":           {"version: 1\nbundle: {keys: {file: dhi.pub, mirrors: A b}}", "not the name of a mirror"},
	} {
		p, err := policy.Parse("trust.yaml", []byte(c.policy), files)
		if !errors.Is(err, policy.ErrPolicy) || p != nil || !strings.Contains(fmt.Sprint(err), c.want) || !strings.Contains(fmt.Sprint(err), "trust.yaml:") {
			t.Errorf("%s: %v\nwant %q", name, err, c.want)
		}
	}
	_, err = policy.Parse("trust.yaml", []byte("version: 2\nimages: {match: x, cary: true, deny: 1}\nfoo: 1"), files)
	for _, each := range []string{"version is", `"cary"`, "2:38", `"foo"`} {
		if !strings.Contains(fmt.Sprint(err), each) {
			t.Errorf("%v\nlacks %q: all mistakes belong into one error", err, each)
		}
	}
	if _, err := policy.Parse("x", make([]byte, policy.MaxSize+1), files); !errors.Is(err, policy.ErrPolicy) {
		t.Errorf("a large policy: %v", err)
	}
}

// One value stands for a list of one, and a party is the same however it is written.
// An export that was interrupted is continued by the same policy only: the same file, and the same content of all that it names.
func TestFilesStandForAll(t *testing.T) {
	files := policytest.Files{"a.pub": "", "b.pub": ""}
	for name := range files {
		files[name], _ = policytest.Key(t, time.Now().Add(time.Hour))
	}
	const text = "version: 1\nbundle: {keys: a.pub}\n"
	first := parse(t, files, text)
	if again := parse(t, files, text); again.Files != first.Files {
		t.Errorf("%s, and %s for the same", first.Files, again.Files)
	}
	if comment := parse(t, files, text+"# no\n"); comment.Files == first.Files || comment.Digest == first.Digest {
		t.Error("another policy is taken for the same")
	}
	files["a.pub"] = files["b.pub"]
	if other := parse(t, files, text); other.Files == first.Files || other.Digest != first.Digest {
		t.Error("another key is taken for the same")
	}
}

func TestParseParties(t *testing.T) {
	files := world(t)
	inline := strings.ReplaceAll(files["dhi.pub"], "\n", "\n          ")
	p := parse(t, files, `
version: 1
signers:
  docker: {keys: dhi.pub}
  also: {keys: [dhi.crt.pem], revoked: [officers/x.pub]}
  ci: {identities: {issuer: https://i, subject: s}, trustedRoot: trusted_root.json}
  ci2: {identities: {issuerExpression: 'https://(a|b)', subject: s2}, trustedRoot: trusted_root.json}
  store: {notation: {certificates: ca, identities: [{x509.subject: "C=US, ST=WA, O=acme"}, "x509.subject: C=US, S=WA, O=b"]}}
bundle:
  keys: [{directory: packers, mirrors: [m], destinations: "harbor.example.com/**"}, packers/a.pub]
images:
  - match: [docker.io/a, docker.io/b]
    signatures:
      - by: [docker, also, ci, ci2, store]
        threshold: 2
        revoked: [sha256:`+strings.Repeat("0", 64)+`, ca/root.crt]
      - keys: |
          `+inline+`
    attestations: {type: t, unsigned: true, every: any, optional: true, time: "$['a b'].c[0][*].*"}
`)
	if b := p.Bundle.Party; len(b.Keys) != 3 || b.Keys[0].Scope.Mirrors[0] != "m" || b.Keys[1].Scope.Destinations[0] != "harbor.example.com/**" || b.Keys[2].Scope.Mirrors != nil {
		t.Errorf("%+v", b)
	}
	all, own := p.Images[0].Signatures[0].Party, p.Images[0].Signatures[1].Party
	if all.Name != "docker, also, ci, ci2, store" || len(all.Keys) != 2 || all.Keys[0].Digest() != all.Keys[1].Digest() || len(all.Identities) != 2 || all.Root == nil || len(all.Notation.Certificates) != 1 {
		t.Errorf("%+v", all)
	}
	if want := []string{"x509.subject: C=US, ST=WA, O=acme", "x509.subject: C=US, S=WA, O=b"}; !slices.Equal(all.Notation.Identities, want) {
		t.Errorf("identities %q", all.Notation.Identities)
	}
	if x, _ := signature.ParsePublicKeys([]byte(files["officers/x.pub"])); len(all.Revoked) != 3 || !all.Revoked[x[0].Digest()] || !all.Revoked[all.Keys[0].Digest()] {
		t.Errorf("revoked: %v", all.Revoked)
	}
	if !all.Identities[1].IssuerExpression.MatchString("https://b") || all.Identities[1].IssuerExpression.MatchString("https://b.evil") {
		t.Error("an expression is for the whole text")
	}
	if own.Name != "trust.yaml:17:9" || own.Keys[0].Where != "trust.yaml:17:15" || own.Keys[0].Digest() != all.Keys[0].Digest() || len(own.Revoked) != 0 {
		t.Errorf("%+v", own)
	}
	if a := p.Images[0].Attestations[0]; a.Time.String() != "$['a b'].c[0][*][*]" || !a.Optional || !a.Unsigned || a.Every != policy.AnyOfImage {
		t.Errorf("%+v", a)
	}
}

func TestRule(t *testing.T) {
	digest := "@sha256:" + strings.Repeat("a", 64)
	p := parse(t, world(t), `
version: 1
images:
  - {name: tagged, match: "docker.io/acme/app:1.*", carry: true}
  - {name: pinned, match: "docker.io/acme/app`+digest+`", carry: true}
  - {name: port, match: "localhost:5000/*", carry: true}
  - {name: deep, match: "ghcr.io/**", carry: true}
  - {name: flat, match: "docker.io/acme/*", carry: true}
  - {name: either, match: "docker.io/{a,b/c}/x?", carry: true}
  - {name: prefix, match: "quay.io/acme**", carry: true}
`)
	for source, want := range map[string]string{
		"docker.io/acme/app:1.2":             "tagged",
		"docker.io/acme/app:1.2@sha256:b":    "tagged",
		"docker.io/acme/app:2":               "flat",
		"docker.io/acme/app:2" + digest:      "pinned",
		"docker.io/acme/app" + digest:        "pinned",
		"docker.io/acme/app@sha256:b":        "flat",
		"docker.io/acme/app/more:1":          "",
		"docker.io/acme/:1":                  "flat",
		"docker.io/acme-evil/app:1":          "",
		"evil/docker.io/acme/app:1":          "",
		"localhost:5000/x:1":                 "port",
		"localhost:5000/x/y:1":               "",
		"localhost:5001/x:1":                 "",
		"ghcr.io/a/b/c:1":                    "deep",
		"ghcr.io.evil/a:1":                   "",
		"docker.io/a/x1:1":                   "either",
		"docker.io/b/c/x1:1":                 "either",
		"docker.io/b/x1:1":                   "",
		"docker.io/a/x:1":                    "",
		"quay.io/acme-evil/x/y:1":            "prefix",
		"docker.io/acme/app\n:1":             "flat",
		"docker.io/acme/app:1.2\n/../evil:9": "",
	} {
		got := ""
		if r := p.Rule(source); r != nil {
			got = r.Name
		}
		if got != want {
			t.Errorf("%q: rule %q, want %q", source, got, want)
		}
	}
	if policy.OfKeys(nil).Rule("docker.io/a:1") != nil {
		t.Error("keys judge no images")
	}
}

const statement = `{"predicateType": "t", "predicate": {"result": "clean", "n": 3, "big": 9007199254740993, "tiny": 0.10, "huge": 1e999999,
	"no": null, "yes": true, "list": ["a", "a"], "mixed": ["a", 1], "runs": [{"at": "2026-03-01T00:00:00Z"}, {"at": "2026-02-01T00:00:00+01:00"}],
	"odd 'name\\": 1, "": 2, "source": "git+https://github.com/acme/app@refs/heads/main", "empty": [], "metadata": {"buildFinishedOn": "2026-01-01T00:00:00Z"}, "report": "UmVwb3J0OgpJbmZlY3RlZCBmaWxlczogMAplbmQK", "wrong": ["2026-01-01T00:00:00Z", 3]}}`

func decoded(t testing.TB) any {
	t.Helper()
	var value any
	d := json.NewDecoder(strings.NewReader(statement))
	d.UseNumber()
	if err := d.Decode(&value); err != nil {
		t.Fatal(err)
	}
	return value
}

func TestConditions(t *testing.T) {
	value, files := decoded(t), world(t)
	for condition, want := range map[string]string{ // "": it holds
		"path: $.predicate.result, is: clean":                                            "",
		"path: $.predicate.result, is: infected":                                         `$.predicate.result is "infected" is expected, but it is "clean"`,
		"path: $.predicate.gone, is: clean":                                              "leads to nothing",
		"path: '$.predicate.empty[*]', is: clean":                                        "leads to nothing",
		"path: $.predicate.n, is: 3":                                                     "",
		"path: $.predicate.n, is: 3.0":                                                   "",
		"path: $.predicate.n, is: '3'":                                                   "but it is 3",
		"path: $.predicate.big, is: 9007199254740992":                                    "but it is 9007199254740993",
		"path: $.predicate.big, atMost: 9007199254740992":                                "but it is 9007199254740993",
		"path: $.predicate.tiny, is: 0.1":                                                "",
		"path: $.predicate.huge, atLeast: 1":                                             "but it is 1e999999",
		"path: $.predicate.n, atMost: 3":                                                 "",
		"path: $.predicate.n, atMost: 2":                                                 "is at most 2 is expected",
		"path: $.predicate.n, atLeast: 3":                                                "",
		"path: $.predicate.n, atLeast: 4":                                                "but it is 3",
		"path: $.predicate.result, atMost: 4":                                            `but it is "clean"`,
		"path: $.predicate.no, is: null":                                                 "",
		"path: $.predicate.gone, is: null":                                               "leads to nothing",
		"path: $.predicate.yes, is: true":                                                "",
		"path: $.predicate.yes, is: 'true'":                                              "but it is true",
		"path: $.predicate.yes, is: 1":                                                   "but it is true",
		"path: '$.predicate.list[*]', is: a":                                             "",
		"path: $.predicate.list.*, in: [b, a]":                                           "",
		"path: '$.predicate.list[2]', is: a":                                             "leads to nothing",
		"path: '$.predicate.mixed[*]', is: a":                                            "but it is 1",
		"path: $.predicate.list, is: a":                                                  "but it is a list",
		"path: $.predicate, is: a":                                                       "but it is an object",
		`path: "$.predicate['odd \\'name\\\\']", is: 1`:                                  "",
		"path: $.predicate.list.a, exists: true":                                         "leads to nothing",
		"path: $.predicate.list, exists: true":                                           "",
		"path: $.predicate.gone, exists: false":                                          "",
		"path: $.predicate.no, exists: false":                                            "must not be there",
		"path: $.predicate.source, matches: git+https://*":                               "but it is",
		"path: $.predicate.source, matches: git+https://github.com/**":                   "",
		"path: $.predicate.source, matches: [x, 'git+https://**@refs/heads/main']":       "",
		"path: $.predicate.n, matches: '*'":                                              "but it is 3",
		`path: $.predicate.report, decode: base64, matches: "**\nInfected files: 0\n**"`: "",
		`path: $.predicate.report, decode: base64, matches: "**\nInfected files: 1\n**"`: `but it is "Report:\nInfected files: 0\nend\n"`,
		`path: $.predicate.report, matches: "**Infected files: 0**"`:                     `but it is "UmVw`,
		`path: $.predicate.result, decode: base64, is: x`:                                `is "clean", which is no base64 of a text`,
		`path: $.predicate.n, decode: base64, is: 3`:                                     `is 3, which is no base64 of a text`,
		"path: $, is: a":                                                                 "but it is an object",
	} {
		p, err := policy.Parse("trust.yaml", []byte("version: 1\nimages: {match: '**', attestations: {type: t, unsigned: true, expect: {"+condition+"}}}"), files)
		if err != nil {
			t.Errorf("%s: %v", condition, err)
			continue
		}
		err = p.Images[0].Attestations[0].Expect[0].Check(value)
		if want == "" && err != nil || want != "" && !strings.Contains(fmt.Sprint(err), want) {
			t.Errorf("%s: %v, want %q", condition, err, want)
		}
	}
}

// A path over a large statement leads to so many values and no more, and takes no longer than that.
func TestPathIsBounded(t *testing.T) {
	row := make([]any, 200)
	for i := range row {
		row[i] = row // each of them again: 200 to the power of the steps
	}
	p := parse(t, world(t), "version: 1\nimages: {match: '**', attestations: {type: t, unsigned: true, expect: {path: '$"+strings.Repeat("[*]", 60)+"', is: a}}}")
	if err := p.Images[0].Attestations[0].Expect[0].Check(row); err == nil || !strings.Contains(err.Error(), "more than 10000 values") {
		t.Errorf("%v", err)
	}
}

func TestTimeOf(t *testing.T) {
	value := decoded(t)
	of := func(time string) *policy.AttestationDemand {
		p := parse(t, world(t), "version: 1\nimages: {match: '**', attestations: {type: t, unsigned: true, time: '"+time+"'}}")
		return &p.Images[0].Attestations[0]
	}
	for _, c := range []struct {
		demand        *policy.AttestationDemand
		predicateType string
		want          string // "": no time
	}{
		{nil, "https://slsa.dev/provenance/v0.2", "2026-01-01T00:00:00Z"},
		{nil, "https://slsa.dev/provenance/v0.1", "2026-01-01T00:00:00Z"},
		{nil, "https://slsa.dev/provenance/v0.3", ""},
		{nil, "https://slsa.dev/provenance/v1", ""},
		{of("$.predicate.runs[*].at"), "x", "2026-01-31T23:00:00Z"}, // the earliest
		{of("$.predicate.runs[0].at"), "https://slsa.dev/provenance/v0.2", "2026-03-01T00:00:00Z"},
		{of("$.predicate.gone"), "https://slsa.dev/provenance/v0.2", ""},
		{of("$.predicate.wrong[*]"), "x", ""},
		{of("$.predicate.result"), "x", ""},
	} {
		at, ok := policy.TimeOf(c.demand, c.predicateType, value)
		got := ""
		if ok {
			got = at.UTC().Format(time.RFC3339)
		}
		if got != c.want {
			t.Errorf("%s: %q, want %q", c.predicateType, got, c.want)
		}
	}
}

// The examples are policies that mean what they seem to, once the files that they ask for are there.
func TestExamples(t *testing.T) {
	files := world(t)
	for _, name := range []string{"airgap.pub", "team.pub"} {
		files[name] = files["dhi.pub"]
	}
	files["acme-ca.crt"], files["timestamp-ca.crt"] = files["ca/root.crt"], files["ca/root.crt"]
	if names := policy.Examples(); !slices.Equal(names, []string{"cosign", "dhi", "notation"}) {
		t.Errorf("%q", names)
	}
	for _, name := range policy.Examples() {
		p := parse(t, files, string(policy.Example(name)))
		for _, f := range p.Findings(today) {
			t.Errorf("%s: %s", name, f)
		}
	}
	if policy.Example("../POLICY") != nil {
		t.Error("there are no other files")
	}
	for source, want := range map[string]string{"dhi.io/python:3.13": "DHI images", "docker.io/acme/dhi-python:3.13": "DHI images", "dhi.io/redis-chart:1": "DHI charts", "docker.io/acme/python:3": ""} {
		name := ""
		if r := parse(t, files, string(policy.Example("dhi"))).Rule(source); r != nil {
			name = r.Name
		}
		if name != want {
			t.Errorf("%s: %q, want %q", source, name, want)
		}
	}
}

// Whatever the bytes, there is a policy or an error that says where, and a policy can be asked.
func FuzzParse(f *testing.F) {
	page, err := os.ReadFile("POLICY.md")
	if err != nil {
		f.Fatal(err)
	}
	_, example, _ := strings.Cut(string(page), "```yaml\n")
	example, _, _ = strings.Cut(example, "```")
	f.Add([]byte(example))
	f.Add([]byte("version: 1\nimages: &a [{match: ['{a,b}/**', '?:1'], attestations: [{type: x, unsigned: true, time: \"$['a'][0].*\", expect: [{path: $, in: [1, null, a]}, {path: $.a, exists: false}]}]}]\n"))
	f.Add([]byte("version: 1\nbundle: {keys: [{directory: packers, mirrors: a, destinations: b}], approvals: {keys: officers}}\n"))
	for _, name := range policy.Examples() {
		f.Add(policy.Example(name))
	}
	files := world(f)
	value := decoded(f)
	f.Fuzz(func(t *testing.T, content []byte) {
		p, err := policy.Parse("f", content, files)
		if err != nil {
			if p != nil || !errors.Is(err, policy.ErrPolicy) || !strings.Contains(err.Error(), "f:") {
				t.Fatalf("%v, %v", p, err)
			}
			return
		}
		p.Rule("docker.io/acme/app:1")
		for _, rule := range p.Images {
			if rule.Deny == "" && !rule.Carry && len(rule.Signatures)+len(rule.Attestations) == 0 {
				t.Fatalf("a rule that asks for nothing: %+v", rule)
			}
			for _, d := range rule.Attestations {
				policy.TimeOf(&d, "https://spdx.dev/Document", value)
				for _, c := range d.Expect {
					_ = c.Check(value)
				}
			}
		}
	})
}
