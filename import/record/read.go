package record

import (
	"bufio"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"slices"

	"airgap/bundle"
	"airgap/bundle/ledger"
	"airgap/bundle/strictjson"
)

func imports(ctx context.Context, repo ledger.Repository, index bundle.Digest) (all []*Imported, err error) {
	referrers, err := repo.Referrers(ctx, index)
	if err != nil {
		return nil, err
	}
	for _, r := range referrers {
		if r.ArtifactType == bundle.MediaTypeSigstore {
			continue
		}
		i, err := readImport(ctx, repo, r.Digest, index)
		switch {
		case isDoubtful(err): // deleted, broken, or of a later version
		case err != nil:
			return nil, err
		case i != nil:
			all = append(all, i)
		}
		if len(all) > maxImports {
			return nil, fmt.Errorf("%w: more than %d imports of %s", bundle.ErrLimit, maxImports, index)
		}
	}
	slices.SortStableFunc(all, func(a, b *Imported) int { return a.Finished.Compare(b.Finished) })
	return all, nil
}

// readImport reads what may be an import record of a bundle; nil where it is something else.
func readImport(ctx context.Context, repo ledger.Repository, d, index bundle.Digest) (*Imported, error) {
	desc, content, err := repo.Manifest(ctx, d.String())
	if err != nil {
		return nil, err
	}
	m, err := bundle.ParseManifest(desc.MediaType, content)
	if err != nil || m.ArtifactType != artifactType {
		return nil, err
	}
	if m.Subject == nil || m.Subject.Digest != index || m.Config.Size > maxImportSize || len(m.Layers) != 1 || m.Layers[0].MediaType != mediaTypePlaced {
		return nil, fmt.Errorf("%w: import record %s", bundle.ErrFormat, d)
	}
	body, err := repo.Blob(ctx, *m.Config)
	if err != nil {
		return nil, err
	}
	config, err := io.ReadAll(io.LimitReader(body, m.Config.Size))
	if err = errors.Join(err, body.Close()); err != nil {
		return nil, err
	}
	if bundle.DigestOf(config) != m.Config.Digest {
		return nil, fmt.Errorf("%w: %s", bundle.ErrDigest, m.Config.Digest)
	}
	i, err := parseImport(config)
	if err == nil && i.Bundle != index {
		err = fmt.Errorf("%w: import record %s is of another bundle", bundle.ErrFormat, d)
	}
	if err != nil {
		return nil, err
	}
	return &Imported{*i, repo, m.Layers[0]}, nil
}

// Placed reads where the roots of the bundle went, and holds that against its tables. It is checked as a whole before it ends
// without an error, not before each row is given.
func (i *Imported) Placed(ctx context.Context, contents *bundle.Contents, each func(Placed) error) (err error) {
	body, err := i.repo.Blob(ctx, i.placed)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, body.Close()) }()
	h := sha256.New()
	if err := readRows(io.TeeReader(io.LimitReader(body, i.placed.Size), h), contents, each); err != nil {
		return fmt.Errorf("record %s: what %s brought: %w", i.repo, i.Bundle, err)
	}
	if bundle.Digest(h.Sum(nil)) != i.placed.Digest {
		return fmt.Errorf("record %s: %w: %s", i.repo, bundle.ErrDigest, i.placed.Digest)
	}
	return nil
}

// readRows reads JSON Lines, one for each root.
func readRows(r io.Reader, contents *bundle.Contents, each func(Placed) error) error {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, bundle.MaxLineSize)
	row, roots, counts := 0, contents.Header.Counts.Roots, Counts{}
	for ; lines.Scan(); row++ {
		var p Placed
		err := strictjson.UnmarshalExact(lines.Bytes(), &p)
		if err == nil {
			err = p.check(row)
		}
		switch {
		case err != nil:
		case row >= roots || p.Digest != contents.Root(row).Digest:
			err = errors.New("it is not what the bundle lists")
		case !counts.add(p.Outcome):
			err = fmt.Errorf("outcome %.40q", p.Outcome)
		default:
			if err := each(p); err != nil {
				return err
			}
		}
		if err != nil {
			return fmt.Errorf("%w: row %d: %w", bundle.ErrFormat, row, err)
		}
	}
	if err := lines.Err(); errors.Is(err, bufio.ErrTooLong) {
		return fmt.Errorf("%w: row %d: %w", bundle.ErrFormat, row, err)
	} else if err != nil {
		return err
	}
	if row != roots {
		return fmt.Errorf("%w: %d rows, and the bundle has %d roots", bundle.ErrFormat, row, roots)
	}
	return nil
}
