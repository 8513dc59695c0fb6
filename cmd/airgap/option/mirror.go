package option

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/spf13/pflag"

	"airgap/bundle"
	"airgap/bundle/ledger"
	"airgap/cmd/airgap/app"
	"airgap/export/config"
	"airgap/export/mirror"
	"airgap/export/registry"
	"airgap/export/registry/repository"
	"airgap/verify"
	"airgap/verify/party"
	"airgap/verify/policy"
	"airgap/verify/signature"
)

// Ledger are the flags that say where the bundles of mirrors are remembered, and whose they are.
type Ledger struct {
	where string
	keys  []string
}

// Add defines the flags.
func (l *Ledger) Add(f *pflag.FlagSet) {
	l.AddPlace(f)
	f.StringArrayVar(&l.keys, "ledger-key", nil, "`FILE` with a public key that bundles in the ledger may be signed by, besides --key")
}

// AddPlace defines the flag for where they are alone.
func (l *Ledger) AddPlace(f *pflag.FlagSet) {
	f.StringVar(&l.where, "ledger", "", "`DIR|REGISTRY/REPO` that remembers the bundles of mirrors (default: airgap/ledger in the user's state directory)")
}

// Place returns the registry that the ledger is in, "" for a directory, and what opens it with a client for that.
func (l *Ledger) Place(a *app.App) (host string, open func(*registry.Client) ledger.Ledger, err error) {
	if IsDirectory(l.where) || !namesRegistry(l.where) {
		dir := l.where
		if dir == "" {
			if dir, err = stateDirectory(a); err != nil {
				return "", nil, err
			}
			dir = filepath.Join(dir, "airgap", "ledger")
		}
		return "", func(*registry.Client) ledger.Ledger { return ledger.Ledger{Repository: ledger.Directory(dir)} }, nil
	}
	repo, err := name.NewRepository(l.where, name.StrictValidation)
	if err != nil {
		return "", nil, app.Usagef("--ledger: %w; a directory whose name looks like that of a registry is written ./%s", err, l.where)
	}
	return repo.RegistryStr(), func(c *registry.Client) ledger.Ledger { return ledger.Ledger{Repository: repository.New(c, repo)} }, nil
}

// namesRegistry tells whether a text begins with the host of a registry, as references do.
func namesRegistry(s string) bool {
	host, _, found := strings.Cut(s, "/")
	return found && host != "." && host != ".." && (strings.ContainsAny(host, ".:") && filepath.VolumeName(s) == "" || host == "localhost")
}

// IsDirectory tells whether there is a directory.
func IsDirectory(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

// stateDirectory is where programs keep what they must not lose.
// https://specifications.freedesktop.org/basedir-spec/0.8/
func stateDirectory(a *app.App) (string, error) {
	if dir := a.Getenv("XDG_STATE_HOME"); filepath.IsAbs(dir) {
		return dir, nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", app.Usagef("--ledger is missing: there is no home directory to keep it in: %w", err)
	}
	return filepath.Join(home, ".local", "state"), nil
}

// Mirror are the flags about the series of bundles that an export belongs to.
type Mirror struct {
	Ledger

	name     string
	since    []string
	full     bool
	tolerate int
}

// Add defines the flags.
func (m *Mirror) Add(f *pflag.FlagSet) {
	f.StringVar(&m.name, "mirror", "", "`NAME` of the series of bundles that this one belongs to: what those before it brought is left out")
	m.Ledger.Add(f)
	f.StringArrayVar(&m.since, "since", nil, "`FILE|dhi@11|RECEIPT` to build on instead of the last bundle: a bundle, what somebody read aloud, or a receipt; may be repeated")
	f.BoolVar(&m.full, "full", false, "leave nothing out, and begin again with this bundle")
	f.IntVar(&m.tolerate, "tolerate", 0, "`N` bundles before this one may be lost in a row: leave out only what was known before them")
}

// mirrorOf returns the name of the mirror, "" for none: what the flag says, or else the files.
func (m *Mirror) mirrorOf(files []*config.File) (string, error) {
	of := m.name
	for _, f := range files {
		switch {
		case f.Mirror == "" || m.name != "":
		case of != "" && of != f.Mirror:
			return "", app.Usagef("the files say mirror %s and mirror %s: say with --mirror which one the bundle belongs to", of, f.Mirror)
		default:
			of = f.Mirror
		}
	}
	if of == "" {
		if m.full || m.tolerate != 0 || len(m.since)+len(m.keys) > 0 || m.where != "" {
			return "", app.Usagef("--since, --full, --tolerate, --ledger and --ledger-key are for bundles of a mirror: name it with --mirror, or with mirror: in the configuration file")
		}
		return "", nil
	}
	if err := bundle.CheckMirror(of); err != nil {
		return "", app.Usagef("--mirror: %w", err)
	}
	return of, nil
}

// read returns the mirror that the bundle belongs to, nil for none, but for its Ledger and who is believed there.
func (m *Mirror) read(files []*config.File) (*mirror.Mirror, error) {
	of, err := m.mirrorOf(files)
	if err != nil || of == "" {
		return nil, err
	}
	return &mirror.Mirror{Name: of}, nil
}

// packers returns who may have signed what is in the ledger: whom the flags name, and whom a policy counts as signers of bundles. Where a
// bundle was to go plays no part.
func (l *Ledger) packers(a *app.App, p *policy.Policy) (*party.Party, error) {
	whose := &party.Party{Name: "the ledger"}
	if p != nil {
		*whose = p.Bundle.Party
		whose.Keys, whose.Identities = slices.Clone(whose.Keys), slices.Clone(whose.Identities)
		for i := range whose.Keys {
			whose.Keys[i].Scope.Destinations = nil
		}
		for i := range whose.Identities {
			whose.Identities[i].Scope.Destinations = nil
		}
	}
	keys, err := LoadPublicKeys(a, "--ledger-key", l.keys)
	for _, key := range keys {
		whose.Keys = append(whose.Keys, party.Key{PublicKey: key, Where: "--ledger-key"})
	}
	return whose, err
}

// believe lets a mirror build on bundles of a party, which may grow until the first is read.
func believe(m *mirror.Mirror, whose *party.Party) {
	m.Check = func(ctx context.Context, head *bundle.Head) error {
		_, err := verify.OpenHead(ctx, head, verify.Trust{Policy: &policy.Policy{Bundle: policy.Bundle{Party: *whose, Threshold: 1}}})
		return err
	}
}

// wishes returns what the bundle is to build on, and what is to be closed when it is made.
func (m *Mirror) wishes(ctx context.Context, a *app.App) (w mirror.Wishes, opened []io.Closer, err error) {
	switch {
	case m.tolerate < 0:
		return w, nil, app.Usagef("--tolerate: a number from 0 on is expected")
	case m.full && (m.tolerate > 0 || len(m.since) > 0):
		return w, nil, app.Usagef("--full leaves nothing out, and cannot go with --since or --tolerate")
	case m.tolerate > 0 && len(m.since) > 0:
		return w, nil, app.Usagef("--tolerate counts from the last bundle, and cannot go with --since")
	}
	w.Full, w.Tolerate = m.full, m.tolerate
	for _, text := range m.since {
		since, closer, err := sinceOf(ctx, a, text)
		if err != nil {
			return w, opened, err
		}
		w.Since = append(w.Since, since)
		if closer != nil {
			opened = append(opened, closer)
		}
	}
	return w, opened, nil
}

// sinceOf reads a value of --since.
func sinceOf(ctx context.Context, a *app.App, text string) (since mirror.Since, opened io.Closer, err error) {
	if text == "last" {
		return since, nil, nil
	}
	if !Exists(text) {
		if since.Line, err = ledger.ParseLine(text); err != nil {
			return since, nil, app.Usagef("--since: there is no file of that name, and it is %w", err)
		}
		return since, nil, nil
	}
	if !isVolumes(text) && beginsLikeJSON(text) {
		since.Line, err = receivedLine(text)
		return since, nil, err
	}
	sealed, _, err := (&Source{}).OpenSealed(ctx, a, []string{text})
	if err != nil {
		return since, nil, fmt.Errorf("--since: %w", err)
	}
	return mirror.Since{File: text, Head: &sealed.Head}, sealed, nil
}

// Exists tells whether there is a file or directory.
func Exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// receivedLine returns which bundle a receipt says to be there.
func receivedLine(file string) (line ledger.Line, err error) {
	f, err := os.Open(file)
	if err != nil {
		return line, app.Usagef("--since: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	receipt, err := ledger.ReadReceipt(f)
	switch {
	case err != nil:
		return line, fmt.Errorf("--since: %s: %w", file, err)
	case receipt.Complete == nil:
		return line, app.Usagef("--since: %s says that no bundle is complete at %s: use --full", file, receipt.Target)
	}
	return receipt.Complete.Line(), nil
}

// beginsLikeJSON tells a receipt from a bundle.
func beginsLikeJSON(file string) bool {
	f, err := os.Open(file)
	if err != nil {
		return false
	}
	defer func() { _ = f.Close() }()
	first := make([]byte, 1)
	_, err = f.Read(first)
	return err == nil && first[0] == '{'
}

// Trust makes a key one whose bundles may be built on.
func (c *Asked) Trust(key signature.PublicKey) {
	c.packers.Keys = append(c.packers.Keys, party.Key{PublicKey: key})
}

// TrustsSomebody tells whether anybody's bundles may be built on.
func (c *Asked) TrustsSomebody() bool { return len(c.packers.Keys)+len(c.packers.Identities) > 0 }

// TrustsIdentities tells whether bundles that were signed by some identities may be built on.
func (c *Asked) TrustsIdentities() bool { return len(c.packers.Identities) > 0 }
