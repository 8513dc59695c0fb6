// Package judge holds a policy against images and what proves things about them: at export against what was found, behind the gap against what is
// in a bundle. The page verify/policy/POLICY.md says what the judgement is.
package judge

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"airgap/bundle"
	"airgap/verify/policy"
)

// ErrPolicy: an image does not meet the policy.
var ErrPolicy = errors.New("not as the policy asks")

// Evidence is where manifests and the proofs among the blobs come from: *verify.Bundle, or an export's plan. Both are asked from several
// goroutines at once.
type Evidence interface {
	Graph() *bundle.Graph
	Manifest(d bundle.Digest) ([]byte, error)
	// Proof opens the blob in the given row of the blobs table, which is content of a proof; its reader gives io.EOF only when length and
	// digest are right.
	Proof(ctx context.Context, row int) (io.ReadCloser, error)
}

// State is what a proof is to the party that a rule asks for: the states of POLICY.md.
type State string

// The states.
const (
	Good         State = "good"
	Unsigned     State = "unsigned"
	Untrusted    State = "untrusted"
	Broken       State = "broken"
	OtherSubject State = "other-subject"
	Revoked      State = "revoked"
	Expired      State = "expired"
	Unmet        State = "unmet"
)

// Verdict is what becomes of an image.
type Verdict string

// The verdicts.
const (
	Passes  Verdict = "passes"
	Fails   Verdict = "fails"
	Carried Verdict = "carried" // nothing was asked of it
)

// Options are the settings of Judge. The zero value is valid.
type Options struct {
	Now      time.Time       // when ages are told; zero: the present time
	Jobs     int             // images at once; 0: one for each processor
	Observer bundle.Observer // nil: silence
}

// Judgement is what a policy says of a bundle, in the order of the roots table.
type Judgement struct {
	Policy bundle.Digest `json:"policy"`
	Images []Image       `json:"images"`
}

// Image is the verdict on one root.
type Image struct {
	Source    string        `json:"source"`
	Digest    bundle.Digest `json:"digest"`
	Rule      string        `json:"rule,omitempty"` // that decided; "" where none matched
	Position  string        `json:"position,omitempty"`
	Verdict   Verdict       `json:"verdict"`
	Reasons   []string      `json:"reasons,omitempty"` // why it fails, each a sentence that a person can act on
	Manifests []Manifest    `json:"manifests,omitempty"`
}

// Manifest is what proves something about the index, or about one platform, of an image.
type Manifest struct {
	Digest   bundle.Digest `json:"digest"`
	Platform string        `json:"platform,omitempty"` // "" for an index
	Proofs   []Proof       `json:"proofs"`
}

// Proof is one signature or attestation, as the rule that decided sees it.
type Proof struct {
	Kind          string        `json:"kind"` // signature, attestation, unreadable
	Format        string        `json:"format"`
	PredicateType string        `json:"predicateType,omitempty"`
	Carrier       bundle.Digest `json:"carrier"`
	State         State         `json:"state"`
	Signers       []string      `json:"signers,omitempty"` // who made it, for people; of those that are verified
	Reference     string        `json:"reference,omitempty"`
	Signed        string        `json:"signed,omitempty"` // RFC 3339, by a log or a timestamp authority
	Detail        string        `json:"detail,omitempty"` // what is wrong with it
}

// Judge holds a policy that judges images against the images of a bundle. Each manifest's proofs are read and verified once for each
// rule, however many images share them. The error is only that something could not be read; what the images lack is in the
// Judgement.
func Judge(ctx context.Context, p *policy.Policy, e Evidence, o Options) (*Judgement, error) {
	if o.Now.IsZero() {
		o.Now = time.Now()
	}
	if o.Jobs <= 0 {
		o.Jobs = runtime.GOMAXPROCS(0)
	}
	o.Observer = bundle.Observe(o.Observer)
	j, err := newJudge(p, e, o)
	if err != nil {
		return nil, err
	}
	roots := e.Graph().Contents().Header.Counts.Roots
	images := make([]Image, roots)
	o.Observer.Count("judge", "image", int64(roots))
	group, working := errgroup.WithContext(ctx)
	group.SetLimit(o.Jobs)
	for root := range images {
		if working.Err() != nil {
			break
		}
		group.Go(func() (err error) {
			images[root], err = j.image(working, root)
			o.Observer.Add(1)
			return err
		})
	}
	if err := errors.Join(group.Wait(), ctx.Err()); err != nil {
		return nil, err
	}
	return &Judgement{Policy: p.Digest, Images: images}, nil
}

// judge is one run of Judge.
type judge struct {
	assessor
	policy *policy.Policy
	rules  map[*policy.Rule]*rule

	mu    sync.Mutex
	known map[string]*shared
}

// shared is an assessment that is made by whoever needs it first.
type shared struct {
	once  sync.Once
	found *assessment
	err   error
}

func newJudge(p *policy.Policy, e Evidence, o Options) (*judge, error) {
	j := &judge{assessor: assessor{e, o.Now}, policy: p, rules: map[*policy.Rule]*rule{}, known: map[string]*shared{}}
	for i := range p.Images {
		r, err := newRule(&p.Images[i])
		if err != nil {
			return nil, fmt.Errorf("%s: %w", p.Images[i].Position, err)
		}
		j.rules[&p.Images[i]] = r
	}
	return j, nil
}

// image judges one image.
func (j *judge) image(ctx context.Context, root int) (Image, error) {
	row := j.evidence.Graph().Contents().Root(root)
	image := Image{Source: row.Source, Digest: row.Digest, Verdict: Fails}
	asked := j.policy.Rule(row.Source)
	if asked != nil {
		image.Rule, image.Position = asked.Name, asked.Position
	}
	switch {
	case asked == nil && j.policy.Unmatched == policy.Carry, asked != nil && asked.Carry:
		image.Verdict = Carried
		return image, nil
	case asked == nil:
		image.Reasons = []string{"no rule of the policy matches " + row.Source + ", and what no rule matches is refused: add a rule for it, or \"unmatched: carry\""}
		return image, nil
	case asked.Deny != "":
		image.Reasons = []string{"denied: " + asked.Deny}
		return image, nil
	case j.evidence.Graph().Contents().Header.Completes != nil:
		image.Verdict = Carried // without proofs; these are in the bundle that it completes, and are judged with it
		return image, nil
	}
	d := decision{rule: j.rules[asked]}
	var err error
	if d.subjects, err = Gather(j.evidence, root); err != nil {
		return image, err
	}
	for i := range d.subjects {
		s := &d.subjects[i]
		found, err := j.shared(ctx, s, d.rule, row.Source)
		if err != nil {
			return image, fmt.Errorf("%s: %w", row.Source, err)
		}
		d.found = append(d.found, found)
		image.Manifests = append(image.Manifests, Manifest{Digest: s.Digest, Platform: s.Platform, Proofs: found.proofs})
	}
	if image.Reasons = d.decide(); len(image.Reasons) == 0 {
		image.Verdict = Passes
	}
	return image, nil
}

// shared returns the assessment of a subject, which other images may have as well.
func (j *judge) shared(ctx context.Context, s *Subject, r *rule, source string) (*assessment, error) {
	key := fmt.Sprintf("%p %s %v", r, s.Digest, s.nodes())
	if r.fromSource {
		key += repositoryOf(source)
	}
	j.mu.Lock()
	known := j.known[key]
	if known == nil {
		known = &shared{}
		j.known[key] = known
	}
	j.mu.Unlock()
	known.once.Do(func() { known.found, known.err = j.assess(ctx, s, r, source) })
	return known.found, known.err
}

// Err says which images fail, and why: it wraps ErrPolicy. It is nil where none does, and where nothing was judged.
func (j *Judgement) Err() error {
	if j == nil {
		return nil
	}
	var failed []error
	for i := range j.Images {
		if err := j.Images[i].Err(); err != nil {
			failed = append(failed, fmt.Errorf("%s is %w", j.Images[i].Source, err))
		}
	}
	if len(failed) == 0 {
		return nil
	}
	var problems bundle.Problems
	problems.Add(fmt.Errorf("%d of %d images fail the policy", len(failed), len(j.Images)))
	for _, err := range failed {
		problems.Add(err)
	}
	return problems.Err()
}

// Of returns the verdict on the image in the given row of the roots table; nil where nothing was judged.
func (j *Judgement) Of(root int) *Image {
	if j == nil {
		return nil
	}
	return &j.Images[root]
}

// Err says why the image fails: it wraps ErrPolicy. It is nil where it does not.
func (i *Image) Err() error {
	if i.Verdict != Fails {
		return nil
	}
	by := ""
	if i.Position != "" {
		by = fmt.Sprintf(" (rule %s, %s)", i.Rule, i.Position)
	}
	return fmt.Errorf("%w%s: %s", ErrPolicy, by, strings.Join(i.Reasons, "; "))
}

// Fails tells whether the image in the given row of the roots table fails.
func (j *Judgement) Fails(root int) bool { return j.Images[root].Verdict == Fails }
