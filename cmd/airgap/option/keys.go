package option

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"airgap/cmd/airgap/app"
	"airgap/verify/signature"
)

// PasswordVariables may hold the password of a private key. Set and empty means that the password is empty.
var PasswordVariables = []string{"AIRGAP_PASSWORD", "COSIGN_PASSWORD"}

// PasswordFromEnvironment returns the password and the variable that holds it, or "" for none.
func PasswordFromEnvironment(a *app.App) (password []byte, variable string) {
	for _, variable := range PasswordVariables {
		if value, isSet := a.LookupEnv(variable); isSet {
			return []byte(value), variable
		}
	}
	return nil, ""
}

// errNoPassword is for where nobody can be asked.
var errNoPassword = app.Usagef("the private key has a password, and there is no terminal to ask for it: set AIRGAP_PASSWORD (or COSIGN_PASSWORD)")

// LoadPrivateKey reads the private key in a file that was given with a flag, and asks for its password if it has one.
func LoadPrivateKey(ctx context.Context, a *app.App, flag, path string) (*signature.PrivateKey, error) {
	content, err := readKeyFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, app.Usagef("%s: %w; \"airgap keygen\" makes a pair of keys", flag, err)
	}
	if err != nil {
		return nil, err
	}
	password, variable := PasswordFromEnvironment(a)
	key, err := signature.ParsePrivateKey(content, func() ([]byte, error) {
		switch {
		case variable != "":
			return password, nil
		case a.ReadPassword == nil:
			return nil, errNoPassword
		}
		return a.AskPassword(ctx, "Password for "+path)
	})
	if errors.Is(err, signature.ErrPassword) && variable != "" {
		return nil, fmt.Errorf("%s: %w; the password was taken from %s", path, err, variable)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return key, nil
}

// LoadPublicKeys reads the files of public keys, of which any may have signed, and which were given with a flag.
func LoadPublicKeys(a *app.App, flag string, paths []string) ([]signature.PublicKey, error) {
	var keys []signature.PublicKey
	for _, path := range paths {
		content, err := readKeyFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, app.Usagef("%s: %w; it is the .pub file that \"airgap keygen\" wrote where the bundles are made", flag, err)
		}
		if err != nil {
			return nil, err
		}
		more, err := signature.ParsePublicKeys(content)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		for _, key := range more {
			a.Log.Debug("trusted key", "file", path, "fingerprint", key.Fingerprint())
		}
		keys = append(keys, more...)
	}
	return keys, nil
}

// readKeyFile reads a file that is small, if it is what it should be.
func readKeyFile(path string) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }()
	content, err := io.ReadAll(io.LimitReader(file, signature.MaxKeyFileSize+1))
	if err != nil {
		return nil, err
	}
	if len(content) > signature.MaxKeyFileSize {
		return nil, fmt.Errorf("%s: %w: it is too long to be a key file", path, signature.ErrKey)
	}
	return content, nil
}
