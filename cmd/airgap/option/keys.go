package option

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/spf13/pflag"

	"airgap/cmd/airgap/app"
	"airgap/verify/signature"
	"airgap/verify/signature/command"
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

// Signing says who signs what a command makes: a key in a file, or a program that has one.
type Signing struct {
	flag    string // of the key
	key     string
	command string
	public  string
}

// Add defines the flags; flag names the one for a key in a file, and what says what is signed.
func (s *Signing) Add(f *pflag.FlagSet, flag, what string) {
	s.flag = "--" + flag
	f.StringVar(&s.key, flag, "", "`FILE` with the private key that signs "+what+" (make one with \"airgap keygen\")")
	f.StringVar(&s.command, "sign-with", "", "`PROGRAM` that signs "+what+" in place of a key in a file: with an HSM, a smart card or a service (see \"airgap help sign-with\")")
	f.StringVar(&s.public, "public-key", "", "`FILE` with the public key that --sign-with signs for (PEM)")
}

// IsGiven tells whether any of the flags was.
func (s *Signing) IsGiven() bool { return s.key != "" || s.command != "" || s.public != "" }

// Check says what is wrong with the flags; why says what they are needed for.
func (s *Signing) Check(why string) error {
	switch {
	case s.key != "" && s.command != "":
		return app.Usagef("%s and --sign-with are two ways to sign: give one", s.flag)
	case s.key == "" && s.command == "" && s.public == "":
		return app.Usagef("%s is missing: %s", s.flag, why)
	case s.command == "" && s.public != "":
		return app.Usagef("--public-key is for --sign-with")
	case s.command != "" && s.public == "":
		return app.Usagef("--public-key is missing: the file with the public key that %s signs for", s.command)
	}
	return nil
}

// Load returns the key, which has a program sign until ctx is done.
func (s *Signing) Load(ctx context.Context, a *app.App) (*signature.PrivateKey, error) {
	if s.command == "" {
		return LoadPrivateKey(ctx, a, s.flag, s.key)
	}
	keys, err := LoadPublicKeys(a, "--public-key", []string{s.public})
	if err != nil {
		return nil, err
	}
	if len(keys) != 1 {
		return nil, app.Usagef("--public-key: %s has %d keys; a program signs for one", s.public, len(keys))
	}
	key, err := command.Key(ctx, s.command, keys[0])
	if err != nil {
		return nil, app.Usagef("--sign-with: %w", err)
	}
	return key, nil
}

// LoadPrivateKey reads the private key in a file, which was given with a flag, and asks for its password if it has one.
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
