package prooftest

import (
	"crypto"
	"crypto/rsa"
	"crypto/sha512"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"maps"
	"regexp"
	"slices"
	"time"

	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/testing/ca"

	"airgap/bundle"
	"airgap/verify/party"
	"airgap/verify/proof"
	"airgap/verify/signature"
)

// Case is what hangs from an image, and what has to be said of it.
type Case struct {
	Name     string
	Carriers []Carrier
	Type     string // predicate type of the attestation that is asked for; "": a signature is
	Party    *party.Party
	// Want is the state of the proofs that are asked for: nil where one is good; ErrAbsent where there is none; otherwise that of the last.
	Want   error
	Cosign Cosign
}

// ErrAbsent: there is no proof of the kind that is asked for.
var ErrAbsent = errors.New("absent")

// Cosign is how cosign is asked for the same.
type Cosign struct {
	Key     []byte   // a public key, or
	Root    []byte   // a trusted_root.json
	Flags   []string // besides
	File    bool     // the Sigstore bundle is checked as a file: cosign 3 finds v0.3 alone in registries
	Differs string   // why cosign must say otherwise; "": the verdicts are the same
}

// Cases returns the table. Each has a name of its own.
func (w *World) Cases() []Case {
	return slices.Concat(w.byKeys(), w.altered(), w.algorithms(), w.several(), w.kinds(), w.keyless(), w.untimely(), w.untrusted(), w.lies())
}

// The forms in which a signature or an attestation is carried.
var forms = []struct {
	name string
	typ  string
	make func(w *World, key crypto.Signer, about bundle.Digest) *made
	tag  string // "": in a bundle
}{
	{"sig tag", "", (*World).simple, ".sig"},
	{"att tag", Vuln, vuln, ".att"},
	{"bundle", "", sign, ""},
	{"attestation bundle", Vuln, vuln, ""},
}

func vuln(w *World, key crypto.Signer, about bundle.Digest) *made { return w.attest(key, Vuln, about) }
func sign(w *World, key crypto.Signer, about bundle.Digest) *made { return w.attest(key, Sign, about) }

func (m *made) carriers(tagged string) []Carrier {
	if tagged == "" {
		return m.bundle03()
	}
	return tag(tagged, m.layer())
}

// keyed is a case of the key of the given kind.
func (w *World) keyed(name, kind, typ string, carriers []Carrier, want error) Case {
	public := w.Keys[kind].Public()
	c := Case{Name: name, Carriers: carriers, Type: typ, Party: &party.Party{Name: kind}, Want: want}
	c.Cosign = Cosign{Key: pemOf(w.t, public), Flags: []string{"--insecure-ignore-tlog=true"}}
	if key, err := signature.NewPublicKey(public); err == nil {
		c.Party.Keys = []party.Key{{PublicKey: key}}
	}
	if hash, is := map[string]string{"p384": "sha384", "p521": "sha512"}[kind]; is {
		c.Cosign.Flags = append(c.Cosign.Flags, "--signature-digest-algorithm="+hash)
	}
	return c
}

func (c Case) differs(why string) Case {
	c.Cosign.Differs = why
	return c
}

// byKeys: each kind of key in each form, and each form by another key.
func (w *World) byKeys() []Case {
	var cases []Case
	for _, f := range forms {
		for _, kind := range []string{"p256", "p384", "p521", "ed25519", "rsa2048"} {
			cases = append(cases, w.keyed(f.name+" by "+kind, kind, f.typ, f.make(w, w.Keys[kind], w.About).carriers(f.tag), nil))
		}
		cases = append(cases,
			w.keyed(f.name+" by another key", "p256", f.typ, f.make(w, w.Keys["other"], w.About).carriers(f.tag), proof.ErrUntrusted),
			w.keyed(f.name+" by a key of another kind", "rsa2048", f.typ, f.make(w, w.Keys["ed25519"], w.About).carriers(f.tag), proof.ErrUntrusted),
			w.keyed(f.name+" moved over from another image", "p256", f.typ, f.make(w, w.Keys["p256"], w.Other).carriers(f.tag), proof.ErrSubject))
	}
	referrer := []Carrier{{ConfigType: "application/vnd.dev.cosign.artifact.sig.v1+json", Layers: []Layer{w.simple(w.Keys["p256"], w.About).layer()}}}
	c := w.keyed("simple signing in a referrer", "p256", "", referrer, nil)
	c.Cosign.Flags = append(c.Cosign.Flags, "--experimental-oci11=true", "--new-bundle-format=false")
	return append(cases, c)
}

// altered: a payload or a signature that was changed since it was made.
func (w *World) altered() []Case {
	var cases []Case
	for _, f := range forms {
		payload := f.make(w, w.Keys["p256"], w.Other)
		payload.payload = f.make(w, w.Keys["p256"], w.About).payload
		raw := f.make(w, w.Keys["p256"], w.About)
		raw.raws[0][len(raw.raws[0])-1] ^= 1
		short := f.make(w, w.Keys["ed25519"], w.About)
		short.raws[0] = short.raws[0][:63]
		cases = append(cases,
			w.keyed(f.name+" with another payload", "p256", f.typ, payload.carriers(f.tag), proof.ErrUntrusted),
			w.keyed(f.name+" with a bit of the signature changed", "p256", f.typ, raw.carriers(f.tag), proof.ErrUntrusted),
			w.keyed(f.name+" with a signature cut short", "ed25519", f.typ, short.carriers(f.tag), proof.ErrUntrusted))
	}
	return cases
}

// algorithms: good signatures by algorithms that the key's kind does not have.
func (w *World) algorithms() []Case {
	resigned := func(m *made, options crypto.SignerOpts) *made {
		m.raws[0] = w.rawSignature(m.key, options, m.signed())
		return m
	}
	p256, p384, rsa2048, weak, ed := w.Keys["p256"], w.Keys["p384"], w.Keys["rsa2048"], w.Keys["rsa1024"], w.Keys["ed25519"]
	pss := &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: crypto.SHA256}
	loose := w.keyed("sig tag by P-384 with SHA-256", "p384", "", tag(".sig", resigned(w.simple(p384, w.About), crypto.SHA256).layer()), proof.ErrUntrusted)
	loose.Cosign.Flags = loose.Cosign.Flags[:1]
	prehashed := w.simple(ed, w.About)
	sum := sha512.Sum512(prehashed.payload)
	raw, err := ed.Sign(nil, sum[:], crypto.SHA512)
	if err != nil {
		w.t.Fatal(err)
	}
	prehashed.raws[0] = raw
	const anySize = "cosign takes RSA keys of any size; for airgap they begin at 2048 bits, so that a policy with this one cannot be read"
	return []Case{
		w.keyed("sig tag by RSA 1024", "rsa1024", "", tag(".sig", w.simple(weak, w.About).layer()), proof.ErrUntrusted).differs(anySize),
		w.keyed("bundle by RSA 1024", "rsa1024", "", sign(w, weak, w.About).bundle03(), proof.ErrUntrusted).differs(anySize),
		w.keyed("sig tag by P-256 with SHA-512", "p256", "", tag(".sig", resigned(w.simple(p256, w.About), crypto.SHA512).layer()), proof.ErrUntrusted),
		w.keyed("bundle by P-256 with SHA-384", "p256", "", resigned(sign(w, p256, w.About), crypto.SHA384).bundle03(), proof.ErrUntrusted),
		w.keyed("att tag by RSA-PSS", "rsa2048", Vuln, tag(".att", resigned(vuln(w, rsa2048, w.About), pss).layer()), proof.ErrUntrusted),
		w.keyed("bundle by RSA with SHA-512", "rsa2048", "", resigned(sign(w, rsa2048, w.About), crypto.SHA512).bundle03(), proof.ErrUntrusted),
		w.keyed("sig tag by Ed25519, prehashed", "ed25519", "", tag(".sig", prehashed.layer()), proof.ErrUntrusted),
		loose.differs("cosign checks with SHA-256 where it is not told otherwise, whatever the key; for airgap the key decides"),
	}
}

// several: more than one signature, and what stands beside a good one.
func (w *World) several() []Case {
	good, other, ed := w.Keys["p256"], w.Keys["other"], w.Keys["ed25519"]
	broken := Layer{"application/vnd.dev.cosign.simplesigning.v1+json", []byte("{"), map[string]string{"dev.cosignproject.cosign/signature": "AAAA"}}
	two := vuln(w, other, w.About)
	two.raws, two.keyIDs = append(two.raws, vuln(w, good, w.About).raws[0]), []string{"nobody knows this one", "neither this"}
	none := vuln(w, good, w.About)
	none.raws, none.keyIDs = nil, nil
	unknown := vuln(w, good, w.About)
	unknown.keyIDs[0] = "SHA256:unknown"
	spoiled := sign(w, good, w.About).bundle03()
	spoiled[0].Layers[0].Content = []byte(`{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json"}`)
	revoked := w.keyed("sig tag by a revoked key", "p256", "", tag(".sig", w.simple(good, w.About).layer()), proof.ErrRevoked)
	revoked.Party.Revoked = map[bundle.Digest]bool{revoked.Party.Keys[0].Digest(): true}
	return []Case{
		w.keyed("broken, then good", "p256", "", tag(".sig", broken, w.simple(good, w.About).layer()), nil),
		w.keyed("good, then broken", "p256", "", tag(".sig", w.simple(good, w.About).layer(), broken), nil),
		w.keyed("by another, then good", "p256", "", tag(".sig", w.simple(other, w.About).layer(), w.simple(good, w.About).layer()), nil),
		w.keyed("a broken bundle beside a good one", "p256", "", append(spoiled, sign(w, good, w.About).bundle03()...), nil),
		w.keyed("an envelope with two signatures", "p256", Vuln, tag(".att", two.layer()), nil),
		w.keyed("an envelope with two signatures, by others", "ed25519", Vuln, tag(".att", two.layer()), proof.ErrUntrusted),
		w.keyed("an envelope without signatures", "p256", Vuln, tag(".att", none.layer()), proof.ErrBroken),
		w.keyed("an envelope with an unknown keyid", "p256", Vuln, tag(".att", unknown.layer()), nil),
		w.keyed("a bundle with two signatures in its envelope", "p256", Vuln, two.bundle03(), proof.ErrBroken),
		w.keyed("one statement about two images", "p256", Vuln, w.attest(good, Vuln, w.Other, w.About).bundle03(), nil),
		w.keyed("a statement about nothing", "p256", Vuln, w.attest(good, Vuln).bundle03(), proof.ErrSubject),
		w.keyed("nothing", "ed25519", "", nil, ErrAbsent),
		w.keyed("attestation on the other platform only", "ed25519", Vuln, nil, ErrAbsent),
		w.keyed("a signature, and an attestation is asked for", "ed25519", Vuln, tag(".sig", w.simple(ed, w.About).layer()), ErrAbsent),
		revoked.differs("cosign knows no revoked keys"),
	}
}

// kinds: payloads that are something else than they seem.
func (w *World) kinds() []Case {
	good := w.Keys["p256"]
	misled := vuln(w, good, w.About)
	annotated := misled.layer()
	annotated.Annotations["predicateType"] = VEX
	mislabelled := misled.bundle03()
	mislabelled[0].Annotations["dev.sigstore.bundle.predicateType"] = VEX
	foreign := w.keyed("a payload of atomic signing", "p256", "", tag(".sig", w.message(good, simplePayload(w.t, w.About, "atomic container signature")).layer()), proof.ErrBroken)
	twice := []byte(`{"_type":"https://in-toto.io/Statement/v1","subject":[{"digest":{"sha256":"` + w.About.Hex() + `"}}],"predicateType":"` + Vuln + `","predicate":{"a":1,"a":2}}`)
	old := []byte(`{"_type":"https://in-toto.io/Statement/v0.1","subject":[{"name":"x","digest":{"sha256":"` + w.About.Hex() + `"}}],"predicateType":"` + Vuln + `","predicate":{}}`)
	message := w.keyed("a message signature over the manifest", "p256", "", w.message(good, w.Image).bundle03(), nil)
	return []Case{
		w.keyed("a predicate type in an annotation, another in the payload", "p256", VEX, tag(".att", annotated), ErrAbsent),
		w.keyed("the predicate type of the payload, another in an annotation", "p256", Vuln, tag(".att", annotated), nil),
		w.keyed("a bundle with a predicate type in an annotation, another in the payload", "p256", VEX, mislabelled, ErrAbsent),
		w.keyed("a bundle with the predicate type of the payload, another in an annotation", "p256", Vuln, mislabelled, nil),
		w.keyed("another payload type", "p256", Vuln, tag(".att", w.envelope(good, "text/plain", misled.payload).layer()), proof.ErrBroken),
		w.keyed("another payload type in a bundle", "p256", Vuln, w.envelope(good, "text/plain", misled.payload).bundle03(), proof.ErrBroken),
		w.keyed("a payload type that was changed since", "p256", Vuln, tag(".att", retyped(w.envelope(good, "text/plain", misled.payload)).layer()), proof.ErrUntrusted),
		w.keyed("a statement v0.1", "p256", Vuln, tag(".att", w.envelope(good, inToto, old).layer()), nil),
		w.keyed("a statement v0.1 in a bundle", "p256", Vuln, w.envelope(good, inToto, old).bundle03(), nil),
		w.keyed("a message signature over another manifest", "p256", "", w.message(good, []byte("{}")).bundle03(), proof.ErrSubject),
		foreign.differs("cosign does not look at the type of a payload; airgap takes its own kind alone"),
		w.keyed("a statement with a key twice", "p256", Vuln, tag(".att", w.envelope(good, inToto, twice).layer()), proof.ErrBroken),
		message.differs("cosign takes message signatures of files and not of images"),
		w.version("a bundle v0.1 as a file", "application/vnd.dev.sigstore.bundle+json;version=0.1", nil),
		w.version("a bundle v0.2 as a file", "application/vnd.dev.sigstore.bundle+json;version=0.2", nil),
		w.version("a bundle v0.3 as a file", "application/vnd.dev.sigstore.bundle+json;version=0.3", nil),
		w.version("a bundle v0.4", "application/vnd.dev.sigstore.bundle.v0.4+json", proof.ErrBroken),
	}
}

func retyped(m *made) *made {
	m.payloadType = inToto
	return m
}

func (w *World) version(name, mediaType string, want error) Case {
	c := w.keyed(name, "p256", Vuln, vuln(w, w.Keys["p256"], w.About).bundle(mediaType, nil), want)
	c.Cosign.File = true
	return c
}

// identity is a case of who the World's certificates are for.
func (w *World) identity(name, typ string, carriers []Carrier, want error) Case {
	file := w.TrustedRoot(false)
	trusted, err := root.NewTrustedRootFromJSON(file)
	if err != nil {
		w.t.Fatal(err)
	}
	return Case{
		Name: name, Carriers: carriers, Type: typ, Want: want,
		Party: &party.Party{Name: "builder", Identities: []party.Identity{{Issuer: Issuer, Subject: Subject}}, Root: trusted},
		Cosign: Cosign{Root: file, Flags: []string{
			"--certificate-identity=" + Subject, "--certificate-oidc-issuer=" + Issuer, "--insecure-ignore-sct=true",
		}},
	}
}

// stamps asks cosign for timestamps in place of log entries.
func (c Case) stamps() Case {
	c.Cosign.Flags = append(c.Cosign.Flags, "--use-signed-timestamps=true", "--insecure-ignore-tlog=true")
	return c
}

// Times of a certificate that is over now, and of signatures in it and after it.
func (w *World) issued() time.Time { return w.now.Add(-50 * time.Minute) }
func (w *World) during() time.Time { return w.now.Add(-45 * time.Minute) }
func (w *World) after() time.Time  { return w.now.Add(-30 * time.Minute) }

// keyless: certificates that are over now, of signatures that were made while they were valid.
func (w *World) keyless() []Case {
	var cases []Case
	for _, f := range forms {
		certified := func(kind string) *made {
			return f.make(w, w.Keys[kind], w.About).certify(w.authority, Subject, w.issued())
		}
		other := w.identity(f.name+" with a log entry, P-384", f.typ, certified("p384").logged(w.during()).carriers(f.tag), nil)
		if f.tag != "" {
			other = other.differs("of the certificates behind its tags cosign takes signatures with SHA-256 alone, whatever the key; for airgap the key decides")
		}
		cases = append(cases, other,
			w.identity(f.name+" with a log entry", f.typ, certified("p256").logged(w.during()).carriers(f.tag), nil),
			w.identity(f.name+" with a timestamp", f.typ, certified("p256").stamped(w.during()).carriers(f.tag), nil).stamps(),
			w.identity(f.name+" with a log entry, moved over", f.typ,
				f.make(w, w.Keys["p256"], w.Other).certify(w.authority, Subject, w.issued()).logged(w.during()).carriers(f.tag), proof.ErrSubject))
	}
	for _, version := range []string{"0.1", "0.2"} {
		m := vuln(w, w.Keys["p256"], w.About).certify(w.authority, Subject, w.issued()).logged(w.during())
		c := w.identity("a bundle v"+version+" with a log entry", Vuln, m.bundle("application/vnd.dev.sigstore.bundle+json;version="+version, nil), nil)
		c.Cosign.File = true
		cases = append(cases, c)
	}
	expressions := w.identity("who it is by expressions", "", sign(w, w.Keys["p256"], w.About).certify(w.authority, Subject, w.issued()).logged(w.during()).bundle03(), nil)
	expressions.Party.Identities = []party.Identity{{IssuerExpression: regexp.MustCompile(`^https://issuer\..+$`), SubjectExpression: regexp.MustCompile(`^.+@acme\.example$`)}}
	expressions.Cosign.Flags = []string{`--certificate-identity-regexp=^.+@acme\.example$`, `--certificate-oidc-issuer-regexp=^https://issuer\..+$`, "--insecure-ignore-sct=true"}
	both := sign(w, w.Keys["p256"], w.About).certify(w.authority, Subject, w.issued()).logged(w.during()).stamped(w.during())
	newer := w.identity("an entry of Rekor 2 and a timestamp", Vuln, w.rekor2(true), nil)
	newer.Cosign.Flags = append(newer.Cosign.Flags, "--use-signed-timestamps=true")
	untimed := w.identity("an entry of Rekor 2 without a timestamp", Vuln, w.rekor2(false), proof.ErrExpired)
	return append(cases, expressions, newer, untimed, w.identity("a log entry and a timestamp", "", both.bundle03(), nil))
}

// untimely: nobody says that it was made while the certificate was valid.
func (w *World) untimely() []Case {
	var cases []Case
	for _, f := range forms {
		certified := func() *made { return f.make(w, w.Keys["p256"], w.About).certify(w.authority, Subject, w.issued()) }
		strange := w.newAuthority("strange tsa", x509.ExtKeyUsageTimeStamping)
		strange = w.withStampKey(strange)
		bare := w.identity(f.name+" of an expired certificate, without proof of time", f.typ, certified().carriers(f.tag), proof.ErrExpired)
		bare.Cosign.Flags = append(bare.Cosign.Flags, "--insecure-ignore-tlog=true")
		cases = append(cases, bare,
			w.identity(f.name+" logged after the certificate was over", f.typ, certified().logged(w.after()).carriers(f.tag), proof.ErrExpired),
			w.identity(f.name+" stamped after the certificate was over", f.typ, certified().stamped(w.after()).carriers(f.tag), proof.ErrExpired).stamps(),
			w.identity(f.name+" stamped by nobody who is known", f.typ, certified().stampedBy(strange, w.during()).carriers(f.tag), proof.ErrExpired).stamps(),
			w.identity(f.name+" stamped for another signature", f.typ, restamped(certified(), certified().stamped(w.during())).carriers(f.tag), proof.ErrExpired).stamps())
	}
	fresh := sign(w, w.Keys["p256"], w.About).certify(w.authority, Subject, w.now.Add(-time.Minute))
	current := w.identity("a certificate that is valid now, without proof of time", "", fresh.bundle03(), proof.ErrExpired)
	current.Cosign.Flags = append(current.Cosign.Flags, "--insecure-ignore-tlog=true")
	unsigned := sign(w, w.Keys["p256"], w.About).certify(w.authority, Subject, w.issued()).logged(w.during())
	unsigned.entry.promise = nil
	return append(cases,
		w.identity("a proof of inclusion alone", "", unsigned.bundle03(), proof.ErrExpired),
		current.differs("cosign asks its clock; airgap has to come to the same verdict tomorrow"))
}

// restamped gives m the timestamps of another signature.
func restamped(m, other *made) *made {
	over := other.raws[0]
	if other.payloadType != "" {
		over = other.envelopeJSON()
	}
	stamp := other.stamps[0](over)
	m.stamps = []func([]byte) []byte{func([]byte) []byte { return stamp }}
	return m
}

// untrusted: certificates, logs and people that are not of the party.
func (w *World) untrusted() []Case {
	certified := func(subject string) *made {
		return sign(w, w.Keys["p256"], w.About).certify(w.authority, subject, w.issued())
	}
	strange := w.newAuthority("fulcio", x509.ExtKeyUsageCodeSigning)
	log, err := ca.NewVirtualSigstore()
	if err != nil {
		w.t.Fatal(err)
	}
	byStrange := func(form func(*World, crypto.Signer, bundle.Digest) *made) *made {
		return form(w, w.Keys["p256"], w.About).certify(strange, Subject, w.issued()).logged(w.during())
	}
	chained := byStrange((*World).simple)
	chained.chain = []*x509.Certificate{strange.intermediate, strange.root}
	issuer := w.identity("another issuer", "", certified(Subject).logged(w.during()).bundle03(), proof.ErrUntrusted)
	issuer.Party.Identities[0].Issuer, issuer.Cosign.Flags[1] = "https://other.example", "--certificate-oidc-issuer=https://other.example"
	certificates := w.identity("a certificate in no log of certificates", "", certified(Subject).logged(w.during()).bundle03(), proof.ErrUntrusted)
	certificates.Cosign.Root = w.TrustedRoot(true)
	certificates.Cosign.Flags = certificates.Cosign.Flags[:2]
	if certificates.Party.Root, err = root.NewTrustedRootFromJSON(certificates.Cosign.Root); err != nil {
		w.t.Fatal(err)
	}
	revoked := w.identity("a revoked intermediate certificate", "", certified(Subject).logged(w.during()).bundle03(), proof.ErrRevoked)
	revoked.Party.Revoked = map[bundle.Digest]bool{bundle.DigestOf(w.authority.intermediate.RawSubjectPublicKeyInfo): true}
	weak := w.identity("a certificate of RSA 1024", "", sign(w, w.Keys["rsa1024"], w.About).certify(w.authority, Subject, w.issued()).logged(w.during()).bundle03(), proof.ErrBroken)
	leaf := w.keyed("the key of its certificate", "p256", "", certified(Subject).logged(w.during()).bundle03(), nil)
	return []Case{
		w.identity("sig tag of an unknown authority", "", tag(".sig", byStrange((*World).simple).layer()), proof.ErrUntrusted),
		w.identity("sig tag of an unknown authority that comes along", "", tag(".sig", chained.layer()), proof.ErrUntrusted),
		w.identity("att tag of an unknown authority", Vuln, tag(".att", byStrange(vuln).layer()), proof.ErrUntrusted),
		w.identity("bundle of an unknown authority", "", byStrange(sign).bundle03(), proof.ErrUntrusted),
		w.identity("bundle in an unknown log", "", certified(Subject).loggedBy(log, w.during()).bundle03(), proof.ErrExpired),
		w.identity("another subject", "", certified("somebody@else.example").logged(w.during()).bundle03(), proof.ErrUntrusted),
		w.identity("a certificate that names nobody", "", certified("").logged(w.during()).bundle03(), proof.ErrUntrusted),
		w.identity("a subject that begins the same", "", certified(Subject+".org").logged(w.during()).bundle03(), proof.ErrUntrusted),
		w.identity("a bare key, and an identity is asked for", "", sign(w, w.Keys["p256"], w.About).bundle03(), proof.ErrUntrusted),
		issuer, certificates, weak,
		revoked.differs("cosign knows no revoked certificates"),
		leaf.differs("cosign wants bundles made with a bare key where it is given one; for airgap the key made it, with a certificate or without"),
	}
}

// lies: what comes along is for something else, or was changed.
func (w *World) lies() []Case {
	certified := func(form func(*World, crypto.Signer, bundle.Digest) *made) *made {
		return form(w, w.Keys["p256"], w.About).certify(w.authority, Subject, w.issued()).logged(w.during())
	}
	late, promise, moved, included := certified(sign), certified(sign), certified(sign), certified(sign)
	late.entry.at = late.entry.at.Add(time.Minute)
	promise.entry.promise[len(promise.entry.promise)-1] ^= 1
	moved.entry = certified(sign).entry
	tagged := certified((*World).simple)
	tagged.entry = certified((*World).simple).entry
	key := certified(sign)
	key.raws[0] = w.rawSignature(w.Keys["other"], crypto.SHA256, key.signed())
	key.logged(w.during())
	spoiled := func(b map[string]any) {
		material := b["verificationMaterial"].(map[string]any)
		inclusion := material["tlogEntries"].([]any)[0].(map[string]any)["inclusionProof"].(map[string]any)
		inclusion["rootHash"] = base64.StdEncoding.EncodeToString(make([]byte, 32))
	}
	garbled := certified((*World).simple).layer()
	garbled.Annotations = maps.Clone(garbled.Annotations)
	garbled.Annotations["dev.sigstore.cosign/certificate"] = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
	return []Case{
		w.identity("an entry with another time", "", late.bundle03(), proof.ErrExpired),
		w.identity("an entry with a promise that was changed", "", promise.bundle03(), proof.ErrExpired),
		w.identity("an entry of another signature", "", moved.bundle03(), proof.ErrBroken),
		w.identity("sig tag with an entry of another signature", "", tag(".sig", tagged.layer()), proof.ErrBroken),
		w.identity("a signature by another key than the certificate's", "", key.bundle03(), proof.ErrBroken),
		w.identity("a proof of inclusion in another tree", "", included.bundle("application/vnd.dev.sigstore.bundle.v0.3+json", spoiled), proof.ErrBroken),
		w.identity("a certificate that is none", "", tag(".sig", garbled), proof.ErrBroken),
	}
}
