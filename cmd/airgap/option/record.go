package option

import (
	"context"

	"github.com/spf13/pflag"

	"airgap/bundle"
	"airgap/cmd/airgap/app"
	"airgap/export/registry"
	"airgap/export/registry/harbor"
	"airgap/export/registry/repository"
	"airgap/import/placing"
	"airgap/import/record"
	"airgap/import/target"
)

// Record are the flags of commands that read the record of a target.
type Record struct {
	Registry

	Keys   []string
	Mirror string
	where  string
}

// Add defines the flags but that for a mirror.
func (f *Record) Add(flags *pflag.FlagSet) {
	flags.StringArrayVar(&f.Keys, "key", nil, "`FILE` with a public key that is trusted (PEM); for several give it several times")
	flags.StringVar(&f.where, "record", "", "`REPO` at the registry where the record is; by default airgap below the prefix")
	f.Registry.Add(flags)
}

// RecordHelp is the part of a command's help about records.
const RecordHelp = `The record is what imports keep at the target: the signed head of each bundle of a mirror, and what became of its
images, in the repository "airgap" below PREFIX, or where --record of the import said. What is not signed by a
trusted key is not believed, and named.`

// OpenRecord is a record and the target that it is of.
type OpenRecord struct {
	*record.History

	Destination placing.Destination
	Client      *registry.Client
	Harbor      *harbor.Client // nil for other registries
}

// Resolver finds out what the target has.
func (r *OpenRecord) Resolver() target.Resolver {
	return target.PastPolicies{Registry: r.Client, Harbor: r.Harbor}
}

// Open opens the record of a mirror, or of all for "", of REGISTRY[/PREFIX].
func (f *Record) Open(ctx context.Context, a *app.App, to, mirror string) (*OpenRecord, error) {
	d, err := placing.ParseDestination(to)
	if err != nil {
		return nil, err
	}
	client, err := f.Target(ctx, a, d.Registry.RegistryStr(), nil)
	if err != nil {
		return nil, err
	}
	return f.OpenAt(ctx, a, client, d, mirror)
}

// OpenAt is Open with a client for the destination.
func (f *Record) OpenAt(ctx context.Context, a *app.App, client *registry.Client, d placing.Destination, mirror string) (*OpenRecord, error) {
	trust, err := (&Source{Keys: f.Keys}).Trust(a)
	if err != nil {
		return nil, err
	}
	trust.Destination = d.String()
	place, err := record.Place(d, nil)
	if f.where != "" {
		place, err = record.Named(d, f.where)
	}
	if err != nil {
		return nil, app.Usagef("%w; without it, name the project or the prefix, as in %s/mirror", err, d)
	}
	r := &OpenRecord{Destination: d, Client: client}
	err = a.WithProgress(func(o bundle.Observer) (err error) {
		o.Phase("look for the record", 0)
		if r.Harbor, err = harbor.Find(ctx, client, d.Registry); err != nil {
			return err
		}
		r.History, err = record.Open(ctx, repository.New(client, place), trust, mirror)
		return err
	})
	return r, err
}

// WarnOfDoubts names entries that are not believed.
func (r *OpenRecord) WarnOfDoubts(a *app.App) {
	for _, doubt := range r.Doubts() {
		a.Warn("not believed: %s:%s: %s", r, doubt.Tag, doubt.Reason)
	}
}
