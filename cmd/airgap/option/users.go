package option

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/spf13/pflag"

	"airgap/cmd/airgap/app"
	"airgap/cmd/airgap/terminal"
	"airgap/export/registry"
)

// Users are the flags about who we are at registries.
type Users struct {
	Usernames     []string
	PasswordStdin bool
	Password      string // of --password, which login alone has
}

// AddUsername defines the flags.
func (f *Users) AddUsername(flags *pflag.FlagSet, shorthand string) {
	flags.StringArrayVarP(&f.Usernames, "username", shorthand, nil, "`[HOST=]NAME` of the user at the registry, instead of the one that is logged in")
	flags.BoolVar(&f.PasswordStdin, "password-stdin", false, "read the password of that user from standard input")
}

// logins returns the users named by flags, with their passwords.
func (f *Users) logins(ctx context.Context, a *app.App, inPlay []string) (map[string]authn.AuthConfig, error) {
	users, err := byHost("username", f.Usernames, inPlay)
	if err != nil {
		return nil, err
	}
	if err := f.checkUsers(users, inPlay); err != nil {
		return nil, err
	}
	logins := map[string]authn.AuthConfig{}
	for _, host := range slices.Sorted(maps.Keys(users)) {
		password, err := f.readPassword(ctx, a, users[host], host)
		if err != nil {
			return nil, err
		}
		logins[host] = authn.AuthConfig{Username: users[host], Password: password}
	}
	return logins, nil
}

func (f *Users) checkUsers(users map[string]string, inPlay []string) error {
	for host, user := range users {
		if !slices.Contains(inPlay, host) {
			return app.Usagef("--username is given for %s, which is none of the registries in play: %s", registry.DisplayName(host), shownList(inPlay))
		}
		if user == "" {
			return app.Usagef("--username for %s is empty", registry.DisplayName(host))
		}
	}
	switch {
	case f.PasswordStdin && len(users) == 0:
		return app.Usagef("--password-stdin needs --username")
	case f.PasswordStdin && len(users) > 1:
		return app.Usagef("standard input can give one password only, but --username names %d users: use \"airgap login\" for the others", len(users))
	}
	return nil
}

func (f *Users) readPassword(ctx context.Context, a *app.App, user, host string) (string, error) {
	switch {
	case f.Password != "":
		return f.Password, nil
	case f.PasswordStdin:
		stdin, err := a.TakeStdin("the password")
		if err != nil {
			return "", err
		}
		return readSecret(stdin)
	case a.ReadPassword == nil:
		return "", app.Usagef("there is no password for %s at %s: pass it with --password-stdin, or save it with \"airgap login %s\"",
			user, registry.DisplayName(host), registry.DisplayName(host))
	}
	password, err := a.AskPassword(ctx, fmt.Sprintf("Password for %s at %s", user, registry.DisplayName(host)))
	if err != nil {
		return "", err
	}
	if len(password) == 0 {
		return "", errors.New("the password is empty")
	}
	return string(password), nil
}

// readSecret reads a password to the end of r, and leaves out one line ending, which "echo" or an editor put there.
func readSecret(r io.Reader) (string, error) {
	const limit = 64 << 10 // tokens are long, but not that long
	b, err := io.ReadAll(io.LimitReader(r, limit+1))
	switch {
	case err != nil:
		return "", fmt.Errorf("reading the password from standard input: %w", err)
	case len(b) > limit:
		return "", fmt.Errorf("the password on standard input is longer than %s", terminal.Bytes(limit))
	}
	secret := strings.TrimSuffix(strings.TrimSuffix(string(b), "\n"), "\r")
	if secret == "" {
		return "", app.Usagef("the password on standard input is empty")
	}
	return secret, nil
}
