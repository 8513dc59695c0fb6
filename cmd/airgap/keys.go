package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"airgap/verify/signature"
)

// passwordVariables may hold the password of a private key. Set and empty means that the password is empty.
var passwordVariables = []string{"AIRGAP_PASSWORD", "COSIGN_PASSWORD"}

// passwordFromEnvironment returns the password and the variable that holds it, or "" for none.
func (a *app) passwordFromEnvironment() (password []byte, variable string) {
	for _, variable := range passwordVariables {
		if value, isSet := a.lookupEnv(variable); isSet {
			return []byte(value), variable
		}
	}
	return nil, ""
}

// errNoPassword is for where nobody can be asked.
var errNoPassword = usagef("the private key has a password, and there is no terminal to ask for it: set AIRGAP_PASSWORD (or COSIGN_PASSWORD)")

// loadPrivateKey reads the private key in a file, and asks for its password if it has one.
func loadPrivateKey(ctx context.Context, a *app, path string) (*signature.PrivateKey, error) {
	content, err := readKeyFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, usagef("--key: %w; \"airgap keygen\" makes a pair of keys", err)
	}
	if err != nil {
		return nil, err
	}
	password, variable := a.passwordFromEnvironment()
	key, err := signature.ParsePrivateKey(content, func() ([]byte, error) {
		switch {
		case variable != "":
			return password, nil
		case a.readPassword == nil:
			return nil, errNoPassword
		}
		return a.askPassword(ctx, "Password for "+path)
	})
	if errors.Is(err, signature.ErrPassword) && variable != "" {
		return nil, fmt.Errorf("%s: %w; the password was taken from %s", path, err, variable)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return key, nil
}

// loadPublicKeys reads the files of public keys, of which any may have signed.
func loadPublicKeys(a *app, paths []string) ([]signature.PublicKey, error) {
	var keys []signature.PublicKey
	for _, path := range paths {
		content, err := readKeyFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, usagef("--key: %w; it is the .pub file that \"airgap keygen\" wrote where the bundles are made", err)
		}
		if err != nil {
			return nil, err
		}
		more, err := signature.ParsePublicKeys(content)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		for _, key := range more {
			a.log.Debug("trusted key", "file", path, "fingerprint", key.Fingerprint())
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
