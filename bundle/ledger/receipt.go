package ledger

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"airgap/bundle"
	"airgap/bundle/strictjson"
)

// Receipt says what a target has of a mirror (FORMAT.md, "Receipts").
type Receipt struct {
	Format   string     `json:"format"`
	Target   string     `json:"target"`             // REGISTRY[/PREFIX]
	Made     string     `json:"made"`               // RFC 3339, whole seconds, UTC
	Complete *Received  `json:"complete,omitempty"` // the newest bundle of which everything is there
	Line     string     `json:"line,omitempty"`     // Complete as people say it: see Line
	Others   []Received `json:"others"`             // of which only some is there, the newest first
}

// Received is a bundle of which a target has something.
type Received struct {
	Mirror   string        `json:"mirror"`
	Sequence uint64        `json:"sequence"`
	Identity bundle.Digest `json:"identity"` // Header.Identity
	Created  string        `json:"created"`  // RFC 3339, whole seconds, UTC
	Images   int           `json:"images"`   // that it lists
	There    int           `json:"there"`    // of them, at the target
}

const (
	receiptFormat = "airgap-receipt/1"
	maxReceipt    = 1 << 20 // bytes
)

// NewReceipt makes a receipt; complete is nil where no bundle is there with everything.
func NewReceipt(target string, made time.Time, complete *Received, others []Received) *Receipt {
	r := &Receipt{Format: receiptFormat, Target: target, Made: made.UTC().Format(time.RFC3339), Complete: complete, Others: append([]Received{}, others...)}
	if complete != nil {
		r.Line = complete.Line().String()
	}
	return r
}

// Line names the bundle as people say it.
func (r *Received) Line() Line { return LineOf(r.Mirror, r.Sequence, r.Identity) }

// ErrReceipt: a file is no receipt.
var ErrReceipt = errors.New("this is not a receipt")

// ReadReceipt reads a receipt, of which at most 1 MiB is read. Errors wrap ErrReceipt, or are those of in.
func ReadReceipt(in io.Reader) (*Receipt, error) {
	content, err := io.ReadAll(io.LimitReader(in, maxReceipt+1))
	switch {
	case err != nil:
		return nil, err
	case len(content) > maxReceipt:
		return nil, fmt.Errorf("%w: it has more than %d bytes", ErrReceipt, maxReceipt)
	}
	var r Receipt
	if err := strictjson.UnmarshalExact(content, &r); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrReceipt, err)
	}
	if err := r.check(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrReceipt, err)
	}
	return &r, nil
}

// Write writes the file.
func (r *Receipt) Write(out io.Writer) error {
	encoder := json.NewEncoder(out)
	encoder.SetEscapeHTML(false)
	return encoder.Encode(r)
}

func (r *Receipt) check() error {
	if r.Format != receiptFormat {
		return fmt.Errorf("format %.40q, and not %q", r.Format, receiptFormat)
	}
	line := ""
	if r.Complete != nil {
		if err := r.Complete.check(); err != nil {
			return err
		}
		line = r.Complete.Line().String()
	}
	if r.Line != line {
		return fmt.Errorf("the line is %.200q, and not %q", r.Line, line)
	}
	for i := range r.Others {
		if err := r.Others[i].check(); err != nil {
			return err
		}
	}
	return nil
}

func (r *Received) check() error {
	if r.Sequence == 0 || r.Identity.IsZero() || r.Images < 0 || r.There < 0 || r.There > r.Images {
		return errors.New("a bundle without number or identity, or with more images there than it has")
	}
	return bundle.CheckMirror(r.Mirror)
}
