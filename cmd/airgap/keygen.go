package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"airgap/cmd/airgap/app"
	"airgap/cmd/airgap/option"
	"airgap/verify/signature"
	"airgap/verify/signature/command"
)

func newKeygen(a *app.App) *cobra.Command {
	var prefix, kind string
	cmd := &cobra.Command{
		Use:   "keygen",
		Short: "Make a pair of keys to sign and check bundles with",
		Long: `Make a pair of keys: airgap.key signs bundles and stays on the connected side; airgap.pub checks them and
goes to the other side. Carry airgap.pub once, by a way that you trust, and compare the fingerprint
there: whatever airgap.key signs will be believed.

The private key is encrypted with a password, from AIRGAP_PASSWORD, COSIGN_PASSWORD or the terminal.
cosign reads both files, and airgap reads those of "cosign generate-key-pair". Files that are there are
never overwritten.`,
		Example: `  # Asks for a password, writes airgap.key and airgap.pub, prints the fingerprint
  airgap keygen

  # In a script; another name and another type of key
  AIRGAP_PASSWORD=$(cat password.txt) airgap keygen --output-key-prefix keys/prod --type ed25519`,
		Args: app.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !slices.Contains(signature.KeyKinds(), signature.KeyKind(kind)) {
				return app.Usagef("--type: there is no type of key %q: %s", kind, strings.Join(keyKinds(), ", "))
			}
			return keygen(cmd.Context(), a, signature.KeyKind(kind), prefix+".key", prefix+".pub")
		},
	}
	cmd.Flags().StringVar(&prefix, "output-key-prefix", "airgap", "the `NAME` of the files without .key and .pub")
	cmd.Flags().StringVar(&kind, "type", keyKinds()[0], "the `TYPE` of the key: "+strings.Join(keyKinds(), ", "))
	app.Complete(cmd, "type", keyKinds()...)
	return cmd
}

func keyKinds() []string {
	var kinds []string
	for _, kind := range signature.KeyKinds() {
		kinds = append(kinds, string(kind))
	}
	return kinds
}

func keygen(ctx context.Context, a *app.App, kind signature.KeyKind, privatePath, publicPath string) error {
	// Before anybody has to think of a password. writeNew is what makes sure.
	for _, path := range []string{privatePath, publicPath} {
		if _, err := os.Lstat(path); err == nil {
			return existsError(path)
		}
	}
	password, err := newKeyPassword(ctx, a, privatePath)
	if err != nil {
		return err
	}
	key, err := signature.Generate(kind)
	if err != nil {
		return err
	}
	private, err := key.MarshalEncrypted(password)
	if err != nil {
		return err
	}
	if err := writePair(ctx, privatePath, private, publicPath, key.Public().MarshalPEM()); err != nil {
		return err
	}
	a.Say("%s: the private key, which signs. Keep it and its password on the connected side.", privatePath)
	a.Say("%s: the public key, which checks. Carry it to the other side, and compare this fingerprint there:", publicPath)
	a.Print("%s", key.Public().Fingerprint())
	return nil
}

// newKeyPassword returns the password for a key that is to be made.
func newKeyPassword(ctx context.Context, a *app.App, path string) ([]byte, error) {
	if password, variable := option.PasswordFromEnvironment(a); variable != "" {
		return password, nil
	}
	if a.ReadPassword == nil {
		return nil, app.Usagef("the private key needs a password, and there is no terminal to ask for one: set AIRGAP_PASSWORD (or COSIGN_PASSWORD)")
	}
	password, err := a.AskPassword(ctx, "New password for "+path)
	if err != nil {
		return nil, err
	}
	if len(password) == 0 {
		return nil, errors.New("the password is empty; if the key is to have none, set AIRGAP_PASSWORD to the empty string")
	}
	again, err := a.AskPassword(ctx, "The same again")
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(password, again) {
		return nil, errors.New("the two passwords are not the same; nothing was written")
	}
	return password, nil
}

// writePair writes both files or none.
func writePair(ctx context.Context, privatePath string, private []byte, publicPath string, public []byte) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := writeKey(publicPath, public, 0o644); err != nil {
		return err
	}
	if err := writeKey(privatePath, private, 0o600); err != nil {
		return errors.Join(err, os.Remove(publicPath))
	}
	return nil
}

func writeKey(path string, content []byte, mode fs.FileMode) error {
	err := writeNew(path, content, mode)
	if errors.Is(err, fs.ErrExist) {
		return existsError(path)
	}
	return err
}

// writeNew writes a file that must not be there, not even as a symbolic link, and removes what it could not finish.
func writeNew(path string, content []byte, mode fs.FileMode) error {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	_, err = file.Write(content)
	if err = errors.Join(err, file.Sync(), file.Close()); err != nil {
		return errors.Join(err, os.Remove(path))
	}
	return nil
}

func existsError(path string) error {
	return fmt.Errorf("%s is there already, and keys are never overwritten: move it away, or choose another name with --output-key-prefix", path)
}

// signWithTopic is "airgap help sign-with".
func signWithTopic() *cobra.Command {
	return &cobra.Command{
		Use: "sign-with", Short: "How a program signs that has the key in an HSM, a smart card or a service",
		Long: `With --sign-with PROGRAM --public-key FILE a program signs in place of a key in a file.

` + command.Protocol + `
Settings for PROGRAM belong in its environment, or in a script around it. This one signs with OpenSSL and a PKCS#11
token:

` + command.Example,
	}
}
