package export

import (
	"context"
	"sync"

	"github.com/google/go-containerregistry/pkg/name"

	"airgap/bundle"
	"airgap/export/registry"
	"airgap/export/registry/concurrency"
)

// MostLookups is how many manifests and lists any one registry is asked for at once, at most, where nobody has said how many.
const MostLookups = 32

// Pace bounds how many manifests and lists each registry is asked for at once, to what it turns out to take. Blobs are few and
// large, and are not counted.
type Pace struct {
	most int

	mu     sync.Mutex
	limits map[string]*concurrency.Limit // by registry
}

// NewPace returns a Pace that never allows more than most at any one registry.
func NewPace(most int) *Pace { return &Pace{most: most, limits: map[string]*concurrency.Limit{}} }

// Overloaded is for registry.Config.Overloaded.
func (p *Pace) Overloaded(host string) {
	r, err := registry.ParseName(host) // Docker Hub is contacted by another name
	if err != nil {
		return
	}
	p.mu.Lock()
	l := p.limits[r.RegistryStr()]
	p.mu.Unlock()
	if l != nil { // and not a host that is only sent on to
		l.Overloaded()
	}
}

// do asks for one thing.
func (p *Pace) do(ctx context.Context, r name.Registry, ask func() error) error {
	p.mu.Lock()
	l := p.limits[r.RegistryStr()]
	if l == nil {
		l = concurrency.New(p.most, nil)
		p.limits[r.RegistryStr()] = l
	}
	p.mu.Unlock()
	if err := l.Enter(ctx); err != nil {
		return err
	}
	defer l.Leave(1)
	return ask()
}

// Paced is a client that keeps to a Pace.
type Paced struct {
	*registry.Client

	pace *Pace
}

// Of returns a client that keeps to the pace.
func (p *Pace) Of(c *registry.Client) *Paced { return &Paced{c, p} }

var _ Source = (*Paced)(nil)

// Manifest implements Source.
func (p *Paced) Manifest(ctx context.Context, ref name.Reference) (desc bundle.Descriptor, content []byte, err error) {
	err = p.pace.do(ctx, ref.Context().Registry, func() (err error) {
		desc, content, err = p.Client.Manifest(ctx, ref)
		return err
	})
	return desc, content, err
}

// Resolve implements Source.
func (p *Paced) Resolve(ctx context.Context, ref name.Reference) (desc bundle.Descriptor, err error) {
	err = p.pace.do(ctx, ref.Context().Registry, func() (err error) {
		desc, err = p.Client.Resolve(ctx, ref)
		return err
	})
	return desc, err
}

// ReferrersAmong implements Source.
func (p *Paced) ReferrersAmong(ctx context.Context, subject name.Digest, hasTag func(tag string) bool) (referrers registry.Referrers, err error) {
	err = p.pace.do(ctx, subject.Context().Registry, func() (err error) {
		referrers, err = p.Client.ReferrersAmong(ctx, subject, hasTag)
		return err
	})
	return referrers, err
}

// AnonymousRefused implements Source.
func (p *Paced) AnonymousRefused(ctx context.Context, ref name.Reference) (refused bool, err error) {
	err = p.pace.do(ctx, ref.Context().Registry, func() (err error) {
		refused, err = p.Client.AnonymousRefused(ctx, ref)
		return err
	})
	return refused, err
}
