// Package command signs with a program of the user's, which has the key where it cannot be taken out: in an HSM, a smart card, or a service
// for keys. Start with Key. Protocol says what the program is given and what it gives.
package command

import (
	"context"
	_ "embed" // Protocol and Example
	"encoding/base64"
	"fmt"
	"os/exec"
	"strings"
	"time"

	"airgap/bundle/program"
	"airgap/verify/signature"
)

// Bounds of a program, as Protocol has them.
const (
	maxOutput = 64 << 10
	timeout   = 5 * time.Minute // somebody may have to find the card, and its PIN
)

// Protocol is what a program that signs has to know, for people.
//
//go:embed protocol.txt
var Protocol string

// Example is a script that signs with OpenSSL and a key in a PKCS#11 token.
//
//go:embed openssl-pkcs11.sh
var Example string

// Key returns the key that belongs to public and that the program at path signs with, until ctx is done. The error wraps exec.ErrNotFound or what
// the file system says where there is no such program, which is not run before it is needed.
func Key(ctx context.Context, path string, public signature.PublicKey) (*signature.PrivateKey, error) {
	path, err := exec.LookPath(path)
	if err != nil {
		return nil, err
	}
	return signature.HeldElsewhere(public, func(signed []byte) ([]byte, error) {
		out, err := program.Run(ctx, program.Program{
			Path: path, Args: []string{public.Algorithm(), public.Fingerprint()}, Stdin: signed, MaxOutput: maxOutput, Timeout: timeout,
		})
		if err != nil {
			return nil, err
		}
		if len(out) == 0 {
			return nil, fmt.Errorf("%s ended well, and printed no signature", path)
		}
		// A signature itself is not base64 but by a chance that is negligible.
		if raw, err := base64.StdEncoding.DecodeString(strings.TrimSpace(string(out))); err == nil {
			return raw, nil
		}
		return out, nil
	}), nil
}
