package main

import (
	"path/filepath"
	"strings"
	"testing"

	"airgap/verify/proof/prooftest"
)

// keyless starts the services of a world and returns the flags to sign with them.
func keyless(t *testing.T, k *killable, w *prooftest.World) []string {
	t.Helper()
	services := w.Serve()
	token := k.write(t, "token.jwt", w.Token()+"\n")
	return []string{"--keyless", "--identity-token", token, "--fulcio-url", services.Fulcio, "--rekor-url", services.Rekor}
}

// A bundle that an identity has signed counts for who trusts the root and the identity, even when the export was interrupted and went on.
func TestKeyless(t *testing.T) {
	k, w := newKillable(t), prooftest.NewWorld(t)
	k.signing = keyless(t, k, w)
	if !k.start(t, 5) || k.start(t, -1) {
		t.Fatal("not killed as asked for")
	}
	for _, who := range []struct {
		root     *prooftest.World
		subject  string
		code     int
		whatSays string
	}{
		{w, prooftest.Subject, exitOK, prooftest.Subject},
		{w, "somebody@else.example", exitUntrusted, prooftest.Subject},
		{prooftest.NewWorld(t), prooftest.Subject, exitUntrusted, "not signed by a trusted key"},
	} {
		k.write(t, "trusted_root.json", string(who.root.TrustedRoot(false)))
		policy := k.write(t, "trust.yaml", "version: 1\nbundle:\n  identities: {issuer: "+prooftest.Issuer+", subject: "+who.subject+"}\n  trustedRoot: trusted_root.json\n")
		k.expect(t, who.code, who.whatSays, "verify", k.file, "--policy", policy)
	}
	k.expect(t, exitUntrusted, "", "verify", k.file, "--key", k.public)
}

// Bundles of a mirror that an identity has signed build on each other, for who says in a policy that this one counts.
func TestKeylessMirror(t *testing.T) {
	k, w := newKillable(t), prooftest.NewWorld(t)
	k.write(t, "trusted_root.json", string(w.TrustedRoot(false)))
	trust := func(subject string) string {
		return k.write(t, subject+".yaml", "version: 1\nbundle:\n  identities: {issuer: "+prooftest.Issuer+", subject: "+subject+"}\n  trustedRoot: trusted_root.json\n")
	}
	export := func(code int, message string, flags ...string) {
		t.Helper()
		args := []string{"export", k.server.Host() + "/acme/app:1", "-o", k.file, "--mirror", "m", "--ledger", filepath.Join(k.home, "ledger")}
		k.expect(t, code, message, append(append(args, flags...), keyless(t, k, w)...)...)
	}
	export(exitOK, "", "--policy", trust(prooftest.Subject))
	export(exitOK, "stands on m@1", "--policy", trust(prooftest.Subject))
	export(exitUntrusted, prooftest.Subject, "--policy", trust("somebody@else.example"))
	k.expect(t, exitOK, "", "verify", k.file, "--policy", trust(prooftest.Subject))
}

func TestKeylessFails(t *testing.T) {
	k, w := newKillable(t), prooftest.NewWorld(t)
	sign := keyless(t, k, w)
	export := func(code int, message string, flags ...string) {
		t.Helper()
		k.expect(t, code, message, append([]string{"export", k.server.Host() + "/acme/app:1", "-o", k.file}, flags...)...)
		if left := k.matches(t, "bundle.tar*"); len(left) > 0 {
			t.Errorf("%v: written: %v", flags, left)
		}
	}
	with := func(flags ...string) []string { return append(append([]string(nil), sign...), flags...) }
	export(exitUsage, "cannot go with it", with("--key", filepath.Join(k.home, "airgap.key"))...)
	export(exitUsage, "nobody vouches for the time", with("--rekor-url", "none")...)
	export(exitUsage, "is not https", with("--fulcio-url", "http://fulcio.example")...)
	export(exitUsage, "--rekor-url is missing", "--keyless", "--fulcio-url", "https://fulcio.example")
	export(exitUsage, "no-such-file", with("--identity-token", filepath.Join(k.home, "no-such-file"))...)
	export(exitUsage, "not an identity token", with("--identity-token", k.public)...)
	export(exitUsage, "wants --policy", with("--mirror", "m", "--ledger", filepath.Join(k.home, "ledger"))...)
	k.LookupEnv = func(string) (string, bool) { return "", false }
	export(exitUsage, "SIGSTORE_ID_TOKEN: not an identity token", "--keyless")

	other := prooftest.NewWorld(t).Token()
	export(exitFailure, "401", with("--identity-token", strings.Replace(other, ".x", ".stolen", 1))...)
	if strings.Contains(k.err.String(), other[20:60]) {
		t.Errorf("the token is shown: %s", k.err.String())
	}
}
