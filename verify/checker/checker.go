// Package checker asks a program of the user's about each image that meets the policy: OPA, CUE, or anything that can read JSON. Start with Run.
// POLICY.md, "A checker of your own", says what the program is given.
package checker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"

	"airgap/bundle"
	"airgap/bundle/program"
	"airgap/verify/judge"
)

// Bounds of a program, for one image.
const (
	timeout       = time.Minute
	maxOutput     = 64 << 10 // bytes
	maxStatements = 1 << 30  // bytes of statements, which it is given
)

// errStatements: an image has more statements than a checker is given.
var errStatements = errors.New("its statements are too long for a checker")

// Checker is a program that is asked. Env is all of its environment, as os.Environ has it.
type Checker struct {
	Path string
	Env  []string
}

// Run asks the program about each image that passes, several at once, and has those fail that it refuses. The error wraps exec.ErrNotFound, or what
// the file system says, where there is no such program; or the statements could not be read or written.
func (c Checker) Run(ctx context.Context, e judge.Evidence, j *judge.Judgement, o bundle.Observer) error {
	path, err := exec.LookPath(c.Path)
	if err == nil {
		path, err = filepath.Abs(path) // it is run in another directory
	}
	if err != nil {
		return err
	}
	c.Path = path
	o = bundle.Observe(o)
	o.Count("check", "image", int64(len(j.Images)))
	group, working := errgroup.WithContext(ctx)
	group.SetLimit(runtime.GOMAXPROCS(0))
	for root := range j.Images {
		group.Go(func() error {
			defer o.Add(1)
			if image := &j.Images[root]; image.Verdict == judge.Passes && working.Err() == nil {
				return c.image(working, e, j, root)
			}
			return nil
		})
	}
	return errors.Join(group.Wait(), ctx.Err())
}

// image asks about one image, in a directory of its own.
func (c Checker) image(ctx context.Context, e judge.Evidence, j *judge.Judgement, root int) (err error) {
	image := &j.Images[root]
	dir, err := os.MkdirTemp("", "airgap-check-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	err = write(ctx, e, j, root, dir)
	if err != nil && !errors.Is(err, errStatements) {
		return fmt.Errorf("%s: %w", image.Source, err)
	}
	if err == nil {
		_, err = program.Run(ctx, program.Program{Path: c.Path, Dir: dir, Env: c.Env, MaxOutput: maxOutput, Timeout: timeout})
	}
	if err != nil && ctx.Err() == nil {
		image.Verdict = judge.Fails
		image.Reasons = append(image.Reasons, "the checker does not take it: "+bundle.OneLine(err))
	}
	return ctx.Err()
}

// listed is a statement in image.json.
type listed struct {
	File          string        `json:"file"`
	Manifest      bundle.Digest `json:"manifest"`
	Platform      string        `json:"platform,omitempty"`
	PredicateType string        `json:"predicateType"`
	Signers       []string      `json:"signers"`
}

// write writes what the program is given.
func write(ctx context.Context, e judge.Evidence, j *judge.Judgement, root int, dir string) error {
	statements, total := []listed{}, 0
	err := j.Statements(ctx, e, root, func(v judge.Verified) error {
		name := strconv.Itoa(len(statements)+1) + ".json"
		statements = append(statements, listed{name, v.Manifest, v.Platform, v.PredicateType, v.Signers})
		content, err := json.Marshal(v.Statement)
		if total += len(content); err == nil && total > maxStatements {
			err = fmt.Errorf("%w: they have more than %d bytes", errStatements, maxStatements)
		}
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(dir, name), content, 0o600)
	})
	if err != nil {
		return err
	}
	image := &j.Images[root]
	content, err := json.Marshal(struct {
		Source     string        `json:"source"`
		Digest     bundle.Digest `json:"digest"`
		Rule       string        `json:"rule"`
		Statements []listed      `json:"statements"`
	}{image.Source, image.Digest, image.Rule, statements})
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "image.json"), content, 0o600)
}
