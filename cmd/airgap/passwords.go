package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"

	"airgap/cmd/airgap/terminal"
	"airgap/export/registry"
)

// logins returns the users named by flags, with their passwords.
func (f *registryFlags) logins(ctx context.Context, a *app, inPlay []string) (map[string]authn.AuthConfig, error) {
	users, err := byHost("username", f.usernames, inPlay)
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

func (f *registryFlags) checkUsers(users map[string]string, inPlay []string) error {
	for host, user := range users {
		if !slices.Contains(inPlay, host) {
			return usagef("--username is given for %s, which is none of the registries in play: %s", registry.DisplayName(host), shownList(inPlay))
		}
		if user == "" {
			return usagef("--username for %s is empty", registry.DisplayName(host))
		}
	}
	switch {
	case f.passwordStdin && len(users) == 0:
		return usagef("--password-stdin needs --username")
	case f.passwordStdin && len(users) > 1:
		return usagef("standard input can give one password only, but --username names %d users: use \"airgap login\" for the others", len(users))
	}
	return nil
}

func (f *registryFlags) readPassword(ctx context.Context, a *app, user, host string) (string, error) {
	switch {
	case f.password != "":
		return f.password, nil
	case f.passwordStdin:
		stdin, err := a.takeStdin("the password")
		if err != nil {
			return "", err
		}
		return readSecret(stdin)
	case a.readPassword == nil:
		return "", usagef("there is no password for %s at %s: pass it with --password-stdin, or save it with \"airgap login %s\"",
			user, registry.DisplayName(host), registry.DisplayName(host))
	}
	password, err := a.askPassword(ctx, fmt.Sprintf("Password for %s at %s", user, registry.DisplayName(host)))
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
		return "", usagef("the password on standard input is empty")
	}
	return secret, nil
}
