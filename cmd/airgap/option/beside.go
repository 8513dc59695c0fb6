package option

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"airgap/bundle"
	"airgap/bundle/volume"
	"airgap/cmd/airgap/app"
	"airgap/verify"
	"airgap/verify/signature"
)

// Beside are the flags for what came beside a bundle.
type Beside struct {
	signatures []string
	approvals  []string
}

// Add defines the flags.
func (f *Beside) Add(flags *pflag.FlagSet) {
	flags.StringArrayVar(&f.approvals, "approval", nil, "`FILE` with an approval that the policy asks for; NAME.*"+approvalSuffix+" beside NAME.tar are found by themselves")
	flags.StringArrayVar(&f.signatures, "signature", nil, "`FILE` with another signature over the bundle; NAME.*"+signatureSuffix+" beside NAME.tar are found by themselves")
}

// What the names of files end in that lie beside bundles.
const (
	signatureSuffix = ".sigstore.json"
	approvalSuffix  = ".approval"
)

// Read adds to trust what came beside the bundle in files.
func (f *Beside) Read(trust *verify.Trust, files []string) (err error) {
	asksForApprovals := trust.Policy.Bundle.Approvals != nil
	if len(f.approvals) > 0 && !asksForApprovals {
		return app.Usagef("--approval is for a policy that asks for approvals, and there is none")
	}
	if trust.Signatures, err = readBeside("--signature", f.signatures, files, signatureSuffix); err != nil || !asksForApprovals {
		return err
	}
	trust.Approvals, err = readBeside("--approval", f.approvals, files, approvalSuffix)
	return err
}

// maxBeside bounds how many files are read that were found beside a bundle.
const maxBeside = 100

// readBeside reads the files that a flag names, and those that lie beside a bundle, each once.
func readBeside(flag string, named, files []string, suffix string) (found []signature.Detached, err error) {
	paths, err := findBeside(files, suffix)
	if err != nil {
		return nil, err
	}
	if len(paths) > maxBeside {
		return nil, fmt.Errorf("%w: %d files *%s lie beside the bundle; at most %d are read", bundle.ErrLimit, len(paths), suffix, maxBeside)
	}
	for _, path := range slices.Concat(named, paths) {
		content, err := app.ReadSmallFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, app.Usagef("%s: %w", flag, err)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", flag, err)
		}
		isSame := func(other signature.Detached) bool { return string(other.Content) == string(content) }
		if !slices.ContainsFunc(found, isSame) {
			found = append(found, signature.Detached{Name: path, Content: content})
		}
	}
	return found, nil
}

// findBeside finds the files NAME.*SUFFIX in the directories in which the bundle NAME.tar, or volumes of it, lie.
func findBeside(files []string, suffix string) (paths []string, err error) {
	for _, file := range files {
		info, err := os.Stat(file)
		if file == "-" || err != nil {
			continue // whoever opens the bundle will say so
		}
		dir, names := filepath.Dir(file), []string{filepath.Base(file)}
		if info.IsDir() {
			dir, names = file, nil
		}
		entries, err := os.ReadDir(dir)
		if err != nil {
			return nil, err
		}
		if info.IsDir() {
			for _, e := range entries {
				if volume.IsPart(e.Name()) {
					names = append(names, e.Name())
				}
			}
		}
		for _, e := range entries {
			if path := filepath.Join(dir, e.Name()); e.Type().IsRegular() && isBeside(e.Name(), names, suffix) && !slices.Contains(paths, path) {
				paths = append(paths, path)
			}
		}
	}
	return paths, nil
}

// isBeside tells whether a file belongs, by its name, to one of the named bundles or volumes.
func isBeside(file string, names []string, suffix string) bool {
	return slices.ContainsFunc(names, func(name string) bool {
		prefix := volume.SetName(name) + "."
		return strings.HasPrefix(file, prefix) && strings.HasSuffix(file, suffix) && len(file) > len(prefix)+len(suffix)
	})
}
