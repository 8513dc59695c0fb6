package verify

import (
	"context"
	"errors"
	"fmt"
	"io"

	"airgap/bundle"
	"airgap/verify/judge"
)

// Judgement returns what the policy says of the images; nil where it judges none.
func (b *Bundle) Judgement() *judge.Judgement { return b.judgement }

// Fails tells whether the image in the given row of the roots table does not meet the policy, and so is not to be imported. It is false
// for all unless the bundle was opened with Trust.SkipFailing.
func (b *Bundle) Fails(root int) bool { return b.judgement != nil && b.judgement.Fails(root) }

// Proof opens a blob as judge.Evidence wants it. From a pipe and from changed disks, that is before any layer has been read.
func (b *Bundle) Proof(_ context.Context, row int) (io.ReadCloser, error) {
	blob, err := b.reader.Open(row)
	if errors.Is(err, bundle.ErrPassedBy) {
		return nil, fmt.Errorf("%w, since the first GiB of configs and attestations is all that is kept of it: give the bundle as a file or in volumes", err)
	}
	return blob, err
}

// judge holds the images of a bundle against the policy; nil where it judges none.
func (t Trust) judge(ctx context.Context, b *Bundle) (*judge.Judgement, error) {
	if !t.Policy.Judges {
		return nil, nil //nolint:nilnil // nothing was judged
	}
	j, err := judge.Judge(ctx, t.Policy, b, judge.Options{Now: t.Now})
	if err == nil && !t.SkipFailing {
		err = j.Err()
	}
	return j, err
}
