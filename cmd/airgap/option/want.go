package option

import (
	"context"
	"fmt"

	"airgap/bundle/ledger"
	"airgap/cmd/airgap/app"
	"airgap/export"
	"airgap/export/mirror"
	"airgap/export/registry"
	"airgap/verify/party"
	"airgap/verify/signature"
)

// Wanted is what a list of wanted blobs asks for, and how to get at it.
type Wanted struct {
	Supplement *export.Supplement
	Options    export.Options
	Client     *registry.Client
	InOrder    int // see Asked
}

// ReadWant reads a list of wanted blobs, and finds in the ledger the bundle that lacks them, which key or one of --ledger-key signed.
func (s *Selection) ReadWant(ctx context.Context, a *app.App, file string, key signature.PublicKey) (*Wanted, error) {
	want, err := readWant(a, file)
	if err != nil {
		return nil, err
	}
	w := &Wanted{}
	if w.Options, err = s.supplementOptions(a); err != nil {
		return nil, err
	}
	completes, err := s.find(ctx, a, want, key)
	if err != nil {
		return nil, err
	}
	if w.Supplement, err = export.NewSupplement(completes, want); err != nil {
		return nil, fmt.Errorf("--want: %s: %w", file, err)
	}
	hosts := w.Supplement.Registries()
	reached, err := s.Access(ctx, a, hosts, nil)
	if err != nil {
		return nil, err
	}
	w.Client, w.InOrder = registry.New(ClientConfig(a, reached)), reached.MaxConcurrent(hosts, w.Options.Jobs)
	return w, nil
}

func readWant(a *app.App, file string) (*ledger.Want, error) {
	in, closeInput, err := app.OpenInput(a, file, "the list of wanted blobs")
	if err != nil {
		return nil, fmt.Errorf("--want: %w", err)
	}
	defer closeInput()
	want, err := ledger.ReadWant(in)
	if err != nil {
		return nil, fmt.Errorf("--want: %s: %w", file, err)
	}
	return want, nil
}

func (s *Selection) supplementOptions(a *app.App) (export.Options, error) {
	created, err := creationTime(a)
	if err != nil {
		return export.Options{}, err
	}
	jobs, _, err := s.parallel(nil)
	return export.Options{Created: created, Now: a.Now, Jobs: jobs}, err
}

// find finds the bundle that lacks what is wanted in the ledger.
func (s *Selection) find(ctx context.Context, a *app.App, want *ledger.Want, key signature.PublicKey) (*mirror.Known, error) {
	whose, err := s.packers(a, nil)
	if err != nil {
		return nil, err
	}
	host, open, err := s.Place(a)
	if err != nil {
		return nil, err
	}
	var client *registry.Client
	if host != "" {
		if client, err = s.Client(ctx, a, []string{host}); err != nil {
			return nil, err
		}
	}
	whose.Keys = append(whose.Keys, party.Key{PublicKey: key})
	m := mirror.Mirror{Name: want.Completes.Mirror, Ledger: open(client)}
	believe(&m, whose)
	return m.Find(ctx, want.Completes)
}

// ChoosesNothing tells whether the command line leaves open which images are meant, and what a bundle of a mirror builds on.
func (s *Selection) ChoosesNothing(args []string) bool {
	return len(args)+len(s.configs)+len(s.files)+len(s.imagesFrom)+len(s.since) == 0 && s.tolerate == 0 && !s.full && s.name == "" && s.file == ""
}
