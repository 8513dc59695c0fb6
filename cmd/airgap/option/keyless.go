package option

import (
	"context"
	"fmt"
	"net/http"
	"strings"

	"github.com/spf13/pflag"

	"airgap/cmd/airgap/app"
	"airgap/export"
	"airgap/export/keyless"
)

// Keyless are the flags for signing with an identity in place of a key.
type Keyless struct {
	isAsked  bool
	token    string
	services keyless.Services
}

// identityVariable may hold the identity token, as it does for cosign.
const identityVariable = "SIGSTORE_ID_TOKEN"

// noService is an address of a service that is not to be asked.
const noService = "none"

// Add defines the flags.
func (k *Keyless) Add(f *pflag.FlagSet) {
	f.BoolVar(&k.isAsked, "keyless", false, "sign with an identity in place of a key, as cosign does: with a certificate for an identity token")
	f.StringVar(&k.token, "identity-token", "", "`TOKEN` for --keyless, or a file that has it (default: from "+identityVariable+")")
	f.StringVar(&k.services.Fulcio, "fulcio-url", keyless.PublicGood.Fulcio, "`URL` of the authority that certifies identities for --keyless")
	f.StringVar(&k.services.Rekor, "rekor-url", keyless.PublicGood.Rekor, "`URL` of the transparency log for --keyless, or none")
	f.StringVar(&k.services.Timestamps, "timestamp-url", noService, "`URL` of an RFC 3161 authority that says when --keyless signed, or none")
}

// IsGiven tells whether to sign with an identity.
func (k *Keyless) IsGiven() bool { return k.isAsked }

// Check says what is wrong with the flags.
func (k *Keyless) Check(s *Signing) error {
	if s.IsGiven() {
		return app.Usagef("--keyless signs with an identity: %s, --sign-with and --public-key cannot go with it", s.flag)
	}
	if k.services.Fulcio != keyless.PublicGood.Fulcio && k.services.Rekor == keyless.PublicGood.Rekor {
		return app.Usagef("--rekor-url is missing: with an authority of your own (--fulcio-url), say which log is told, or none")
	}
	for _, address := range []*string{&k.services.Rekor, &k.services.Timestamps} {
		if *address == noService {
			*address = ""
		}
	}
	if err := k.services.Check(); err != nil {
		return app.Usagef("--keyless: %w", err)
	}
	return nil
}

// Load returns who signs, until ctx is done.
func (k *Keyless) Load(ctx context.Context, a *app.App) (export.Signer, error) {
	text, from, err := k.readToken(a)
	if err != nil {
		return export.Signer{}, err
	}
	token, err := keyless.ParseToken(text)
	if err != nil {
		return export.Signer{}, app.Usagef("%s: %w", from, err)
	}
	a.Say("signing as %s", token)
	return keyless.Signer(ctx, k.services, token, http.DefaultTransport), nil
}

// readToken returns the identity token, and where it is from.
func (k *Keyless) readToken(a *app.App) (text, from string, err error) {
	switch {
	case k.token == "":
		text, _ = a.LookupEnv(identityVariable)
		return text, identityVariable, nil
	case strings.HasPrefix(k.token, "eyJ"): // as every JWT begins
		return k.token, "--identity-token", nil
	}
	content, err := app.ReadSmallFile(k.token)
	if err != nil {
		return "", "", fmt.Errorf("--identity-token: %w", app.Absent(err))
	}
	return string(content), k.token, nil
}
