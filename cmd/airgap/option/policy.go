package option

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/pflag"

	"airgap/cmd/airgap/app"
	"airgap/export/config"
	"airgap/verify/policy"
)

// Policy is the flag that names the file which says whom to trust.
type Policy struct{ file string }

// Add defines the flag; what says what becomes of an image that fails.
func (p *Policy) Add(f *pflag.FlagSet, what string) {
	f.StringVar(&p.file, "policy", "", "`FILE` that says whom to trust, and which images need which proofs (\"airgap policy example\" prints one): "+what)
}

// Read returns the policy; nil where the flag is not given.
func (p *Policy) Read() (*policy.Policy, error) {
	if p.file == "" {
		return nil, nil //nolint:nilnil // that there is no policy is no error
	}
	return ReadPolicy(p.file, "--policy: ")
}

// of returns the policy that the flag names, or else the configuration files, each beside itself; nil where none does.
func (p *Policy) of(files []*config.File) (*policy.Policy, error) {
	from, by := p.file, ""
	for _, f := range files {
		if p.file != "" || f.Policy == "" {
			continue
		}
		named := f.Policy
		if !filepath.IsAbs(named) {
			named = filepath.Join(filepath.Dir(f.Name), named)
		}
		if from != "" && from != named {
			return nil, app.Usagef("%s names the policy %s, and %s the policy %s: say with --policy which one counts", by, from, f.Name, named)
		}
		from, by = named, f.Name
	}
	return (&Policy{from}).Read()
}

// ReadPolicy reads a policy and the files that it names. by begins what is said where the policy cannot be read.
func ReadPolicy(file, by string) (*policy.Policy, error) {
	content, err := app.ReadSmallFile(file)
	if err != nil {
		return nil, app.Usagef("%s%w", by, err)
	}
	return policy.Parse(file, content, policyFiles{filepath.Dir(file)})
}

// policyFiles are the files that a policy names, from the directory that it is in.
type policyFiles struct{ dir string }

func (f policyFiles) path(name string) string {
	if filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(f.dir, name)
}

// ReadFile implements policy.Files.
func (f policyFiles) ReadFile(name string) ([]byte, error) { return app.ReadSmallFile(f.path(name)) }

// maxPolicyDirectory bounds the files of a directory of keys.
const maxPolicyDirectory = 10_000

// ReadDir implements policy.Files.
func (f policyFiles) ReadDir(name string) ([]string, error) {
	dir, err := os.Open(f.path(name))
	if err != nil {
		return nil, err
	}
	defer func() { _ = dir.Close() }()
	entries, err := dir.ReadDir(maxPolicyDirectory + 1)
	switch {
	case errors.Is(err, io.EOF): // it is empty
		err = nil
	case len(entries) > maxPolicyDirectory:
		err = fmt.Errorf("%s has more than %d files", name, maxPolicyDirectory)
	}
	var names []string
	for _, entry := range entries {
		if !entry.IsDir() {
			names = append(names, entry.Name())
		}
	}
	return names, err
}
