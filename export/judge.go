package export

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"airgap/bundle"
	"airgap/export/registry"
	"airgap/verify/judge"
)

// judge holds the policy against what was found. An image that fails it is a failure like one that could not be had: the plan is
// made anew without it where the others are to go on.
func (p *Plan) judge(ctx context.Context, source Source, settings bundle.PlanOptions) error {
	o := &p.options
	if o.Policy == nil || !o.Policy.Judges {
		return nil
	}
	e, err := p.Evidence(source)
	if err != nil {
		return err
	}
	p.Judgement, err = judge.Judge(ctx, o.Policy, e, judge.Options{Now: o.Now(), Jobs: o.Jobs, Observer: o.Observer})
	if err != nil {
		return err
	}
	refused := p.refuse()
	if len(refused) == 0 || !o.KeepGoing {
		return nil
	}
	var left []bundle.Image
	for _, image := range p.walk.Images {
		if !refused[keyOf(&image.Root)] {
			left = append(left, image)
		}
	}
	if p.walk.Images = left; len(left) == 0 {
		p.Contents, p.Graph = nil, nil
		return nil
	}
	return p.tabulate(ctx, settings)
}

// refuse notes the images that fail.
func (p *Plan) refuse() map[rootKey]bool {
	refused := map[rootKey]bool{}
	for i, root := range p.Contents.Roots() {
		if err := p.Judgement.Images[i].Err(); err != nil {
			refused[keyOf(&root)] = true
			p.walk.Failures = append(p.walk.Failures, Failure{Source: root.Source, Path: root.Path, Tag: root.Tag, Err: err})
		}
	}
	return refused
}

func keyOf(r *bundle.Root) rootKey { return rootKey{r.Path, r.Tag, r.Digest} }

// Evidence returns what the plan, in which there must be images, knows of proofs. Those are fetched when they are asked for.
func (p *Plan) Evidence(source Source) (judge.Evidence, error) {
	if p.options.Proofs != nil {
		source = p.options.Proofs
	}
	origins, err := findOrigins(p.Contents, p.walk.Manifest)
	return &evidence{plan: p, source: source, origins: origins}, err
}

// evidence is what a plan knows: the manifests that were found, and proofs, which are fetched when they are asked for, and kept for the
// writing.
type evidence struct {
	plan    *Plan
	source  Source
	origins []origin // by row of the blobs table
}

// Graph implements judge.Evidence.
func (e *evidence) Graph() *bundle.Graph { return e.plan.Graph }

// Manifest implements judge.Evidence.
func (e *evidence) Manifest(d bundle.Digest) ([]byte, error) {
	_, content, err := e.plan.walk.store.bytes(d)
	return content, err
}

// Proof implements judge.Evidence.
func (e *evidence) Proof(ctx context.Context, row int) (io.ReadCloser, error) {
	blob := &e.plan.Contents.Blobs[row]
	if kept, err := e.plan.walk.store.open(blob.Digest); !errors.Is(err, bundle.ErrNotFound) {
		return kept, err
	}
	var err error
	for range wrongContentTries {
		var content []byte
		if content, err = e.fetch(ctx, row); err == nil {
			return io.NopCloser(bytes.NewReader(content)), e.plan.walk.store.keepProof(blob.Digest, content)
		}
		if !errors.Is(err, bundle.ErrDigest) {
			break
		}
	}
	return nil, fmt.Errorf("%s: %w", e.plan.Graph.Path(row), err)
}

// fetch returns a proof whole. How large one may be is for the judge to say before it asks.
func (e *evidence) fetch(ctx context.Context, row int) ([]byte, error) {
	blob, from := &e.plan.Contents.Blobs[row], e.origins[row].repository
	body, err := e.source.Blob(ctx, from.Digest(blob.Digest.String()), blob.Size)
	if err != nil {
		return nil, err
	}
	content, err := io.ReadAll(io.LimitReader(body, blob.Size+1))
	if err := errors.Join(err, body.Close()); err != nil {
		return nil, err
	}
	if int64(len(content)) != blob.Size || bundle.DigestOf(content) != blob.Digest {
		return nil, fmt.Errorf("from %s: %w: it is not %s", registry.DisplayName(from.Name()), bundle.ErrDigest, blob.Digest)
	}
	return content, nil
}
