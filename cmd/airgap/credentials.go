package main

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/docker/cli/cli/config"
	"github.com/docker/cli/cli/config/configfile"
	"github.com/docker/cli/cli/config/credentials"
	"github.com/docker/cli/cli/config/types"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
)

// credentialStore is where the credentials for one registry are kept: the place in which authn.DefaultKeychain
// will look for them.
type credentialStore struct {
	file   *configfile.ConfigFile
	key    string
	helper string // the suffix of a credential helper's name; "" is the file itself
}

func openCredentialStore(a *app, host string) (*credentialStore, error) {
	path, err := credentialFile(a)
	if err != nil {
		return nil, err
	}
	file := configfile.New(path)
	if err := loadCredentials(file, path); err != nil {
		return nil, err
	}
	key := host
	if host == name.DefaultRegistry {
		key = authn.DefaultAuthKey
	}
	return &credentialStore{file, key, cmp.Or(file.CredentialHelpers[key], file.CredentialsStore)}, nil
}

func loadCredentials(file *configfile.ConfigFile, path string) error {
	content, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { _ = content.Close() }()
	if err := file.LoadFromReader(content); err != nil {
		return fmt.Errorf("%s cannot be read, and so is not changed: %w", path, err)
	}
	return nil
}

// credentialFile returns the file that authn.DefaultKeychain reads, or will read once it is there. Podman's file
// counts as long as there is none of Docker's: to begin one would hide what Podman's holds.
func credentialFile(a *app) (string, error) {
	if dir := a.getenv("DOCKER_CONFIG"); dir != "" {
		return filepath.Join(dir, config.ConfigFileName), nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", fmt.Errorf("no place to save credentials, unless DOCKER_CONFIG names a folder: %w", err)
	}
	docker := filepath.Join(home, ".docker", config.ConfigFileName)
	if isFile(docker) {
		return docker, nil
	}
	if podman := a.getenv("REGISTRY_AUTH_FILE"); podman != "" {
		return podman, nil
	}
	for _, dir := range []string{
		a.getenv("XDG_RUNTIME_DIR"),
		cmp.Or(a.getenv("XDG_CONFIG_HOME"), filepath.Join(home, ".config")),
	} {
		if podman := filepath.Join(dir, "containers", "auth.json"); dir != "" && isFile(podman) {
			return podman, nil
		}
	}
	return docker, nil
}

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && !info.IsDir()
}

// where says where the credentials are, for a sentence.
func (s *credentialStore) where() string {
	if s.helper != "" {
		return "in docker-credential-" + s.helper
	}
	return "in " + s.file.Filename
}

func (s *credentialStore) save(c authn.AuthConfig) error {
	entry := types.AuthConfig{ServerAddress: s.key, Username: c.Username, Password: c.Password}
	if s.helper != "" {
		return s.native().Store(entry)
	}
	// Not credentials.NewFileStore, which prints to standard error.
	s.file.GetAuthConfigs()[s.key] = entry
	return s.writeFile()
}

func (s *credentialStore) native() credentials.Store {
	return credentials.NewNativeStore(s.file, s.helper)
}

// writeFile makes sure that nobody else can read the file before there is a secret in it: Save keeps the mode of a
// file that is there.
func (s *credentialStore) writeFile() error {
	if err := os.Chmod(s.file.Filename, 0o600); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return s.file.Save()
}

// erase removes the credentials, and tells whether there were any.
func (s *credentialStore) erase() (found bool, err error) {
	if s.helper != "" {
		return s.eraseNative()
	}
	entries := s.file.GetAuthConfigs()
	for key := range entries {
		// Old versions of Docker wrote URLs, which count for the host that they are on.
		if key == s.key || credentials.ConvertToHostname(key) == s.key {
			delete(entries, key)
			found = true
		}
	}
	if !found {
		return false, nil
	}
	return true, s.writeFile()
}

func (s *credentialStore) eraseNative() (found bool, err error) {
	entry, err := s.native().Get(s.key)
	if err != nil {
		return false, err
	}
	if entry.Username == "" && entry.Password == "" && entry.IdentityToken == "" {
		return false, nil
	}
	return true, s.native().Erase(s.key)
}
