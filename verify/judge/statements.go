package judge

import (
	"context"

	"airgap/bundle"
)

// Verified is a statement that somebody made whom the rule of its image names.
type Verified struct {
	Manifest      bundle.Digest // that it is about
	Platform      string
	PredicateType string
	Signers       []string
	Statement     any // as proof.Proof.Statement gives it
}

// Statements gives to use the statements of the image in the given row of the roots table that are good to the rule which decided, in the order of the
// Judgement, which e was judged for. They are read again, one at a time. An error is one in reading, or that of use.
func (j *Judgement) Statements(ctx context.Context, e Evidence, root int, use func(Verified) error) error {
	subjects, err := Gather(e, root)
	if err != nil {
		return err
	}
	for i := range subjects {
		m := &j.Images[root].Manifests[i]
		place := 0
		for c := range subjects[i].Carriers {
			proofs, err := subjects[i].Carriers[c].Read(ctx, e)
			if err != nil {
				return err
			}
			for _, p := range proofs {
				judged := &m.Proofs[place]
				place++
				if judged.State != Good || judged.Kind != "attestation" {
					continue
				}
				statement, err := p.Statement()
				if err == nil {
					err = use(Verified{m.Digest, m.Platform, judged.PredicateType, judged.Signers, statement})
				}
				if err != nil {
					return err
				}
			}
		}
	}
	return nil
}
