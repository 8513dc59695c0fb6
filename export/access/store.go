package access

import (
	"cmp"
	"encoding/json"
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

	"airgap/export/registry"
)

// Store is where the credentials for one registry are kept: the place in which authn.DefaultKeychain will look for them.
type Store struct {
	file   *configfile.ConfigFile
	key    string
	helper string // the suffix of a credential helper's name; "" is the file itself
}

// Environment says where the configurations of Docker and Podman are.
type Environment struct {
	Getenv func(name string) string
	Home   func() (string, error)
}

// OpenStore opens the store for a registry, which is named as go-containerregistry spells it.
func OpenStore(host string, env Environment) (*Store, error) {
	path, err := env.credentialFile()
	if err != nil {
		return nil, err
	}
	file := configfile.New(path)
	if err := loadCredentials(file, path); err != nil {
		return nil, err
	}
	key := storeKey(host)
	return &Store{file, key, cmp.Or(file.CredentialHelpers[key], file.CredentialsStore)}, nil
}

// storeKey is the name of a registry in a store.
func storeKey(host string) string {
	if registry.IsHub(host) {
		return authn.DefaultAuthKey
	}
	return host
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
	err = file.LoadFromReader(content)
	var wrongType *json.UnmarshalTypeError
	if errors.As(err, &wrongType) { // which names Go's types
		err = fmt.Errorf("%q is a JSON %s, where another type is expected", wrongType.Field, wrongType.Value)
	}
	if err != nil {
		return fmt.Errorf("%s cannot be read, and so is not changed: %w", path, err)
	}
	return nil
}

// credentialFile returns the file that authn.DefaultKeychain reads, or will read once it is there. Podman's file
// counts as long as there is none of Docker's: to begin one would hide what Podman's holds.
func (e Environment) credentialFile() (string, error) {
	if dir := e.Getenv("DOCKER_CONFIG"); dir != "" {
		return filepath.Join(dir, config.ConfigFileName), nil
	}
	home, err := e.Home()
	if err != nil {
		return "", fmt.Errorf("no place to save credentials, unless DOCKER_CONFIG names a folder: %w", err)
	}
	docker := filepath.Join(home, ".docker", config.ConfigFileName)
	if isFile(docker) {
		return docker, nil
	}
	if podman := e.Getenv("REGISTRY_AUTH_FILE"); podman != "" {
		return podman, nil
	}
	for _, dir := range []string{
		e.Getenv("XDG_RUNTIME_DIR"),
		cmp.Or(e.Getenv("XDG_CONFIG_HOME"), filepath.Join(home, ".config")),
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

// Where says where the credentials are, for a sentence.
func (s *Store) Where() string {
	if s.helper != "" {
		return "in docker-credential-" + s.helper
	}
	return "in " + s.file.Filename
}

// Save keeps credentials, in place of those that are there.
func (s *Store) Save(c authn.AuthConfig) error {
	entry := types.AuthConfig{ServerAddress: s.key, Username: c.Username, Password: c.Password}
	if s.helper != "" {
		return s.native().Store(entry)
	}
	// Not credentials.NewFileStore, which prints to standard error.
	s.file.GetAuthConfigs()[s.key] = entry
	return s.writeFile()
}

func (s *Store) native() credentials.Store {
	return credentials.NewNativeStore(s.file, s.helper)
}

// writeFile makes sure that nobody else can read the file before there is a secret in it: Save keeps the mode of a
// file that is there.
func (s *Store) writeFile() error {
	if err := os.Chmod(s.file.Filename, 0o600); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return s.file.Save()
}

// Erase removes the credentials, and tells whether there were any.
func (s *Store) Erase() (found bool, err error) {
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

func (s *Store) eraseNative() (found bool, err error) {
	entry, err := s.native().Get(s.key)
	if err != nil {
		return false, err
	}
	if entry.Username == "" && entry.Password == "" && entry.IdentityToken == "" {
		return false, nil
	}
	return true, s.native().Erase(s.key)
}
