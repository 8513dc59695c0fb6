package record

import (
	"bufio"
	"cmp"
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
	manifests, err := importManifests(ctx, repo, index)
	if err != nil {
		return nil, err
	}
	followed := map[bundle.Digest]bool{} // plans
	for _, m := range manifests {
		if followed[m.digest] {
			continue
		}
		i, err := m.read(ctx, repo, index)
		switch {
		case isDoubtful(err):
		case err != nil:
			return nil, err
		default:
			all = append(all, i)
			followed[i.Plan] = true
		}
	}
	slices.SortStableFunc(all, func(a, b *Imported) int { return cmp.Or(a.told().Compare(b.told()), a.Finished.Compare(b.Finished)) })
	return all, nil
}

// importManifest is what matters of the manifest of an import record.
type importManifest struct {
	digest         bundle.Digest
	artifactType   string // "": it has not been read
	config, placed bundle.Descriptor
}

// importManifests returns what may be import records of a bundle, plans last.
func importManifests(ctx context.Context, repo ledger.Repository, index bundle.Digest) (ended []importManifest, err error) {
	referrers, err := repo.Referrers(ctx, index)
	if err != nil {
		return nil, err
	}
	var plans []importManifest
	for _, r := range referrers {
		if r.ArtifactType == bundle.MediaTypeSigstore {
			continue
		}
		if len(ended)+len(plans) == maxImports {
			return nil, fmt.Errorf("%w: more than %d imports of %s", bundle.ErrLimit, maxImports, index)
		}
		if r.ArtifactType == planType { // most were followed, and need not be read
			plans = append(plans, importManifest{digest: r.Digest})
			continue
		}
		m, err := readImportManifest(ctx, repo, r.Digest, index)
		switch {
		case isDoubtful(err): // deleted, broken, or of a later version
		case err != nil:
			return nil, err
		case m.artifactType == planType:
			plans = append(plans, m)
		default:
			ended = append(ended, m)
		}
	}
	return append(ended, plans...), nil
}

// readImportManifest reads a manifest.
func readImportManifest(ctx context.Context, repo ledger.Repository, d, index bundle.Digest) (importManifest, error) {
	desc, content, err := repo.Manifest(ctx, d.String())
	if err != nil {
		return importManifest{}, err
	}
	m, err := bundle.ParseManifest(desc.MediaType, content)
	if err != nil {
		return importManifest{}, err
	}
	if m.ArtifactType != artifactType && m.ArtifactType != planType || m.Subject == nil || m.Subject.Digest != index || m.Config.Size > maxImportSize || len(m.Layers) != 1 || m.Layers[0].MediaType != mediaTypePlaced {
		return importManifest{}, fmt.Errorf("%w: %s is no import record of %s", bundle.ErrFormat, d, index)
	}
	return importManifest{d, m.ArtifactType, *m.Config, m.Layers[0]}, nil
}

// read reads an import record of a bundle.
func (m importManifest) read(ctx context.Context, repo ledger.Repository, index bundle.Digest) (i *Imported, err error) {
	if m.artifactType == "" {
		if m, err = readImportManifest(ctx, repo, m.digest, index); err != nil {
			return nil, err
		}
	}
	body, err := repo.Blob(ctx, m.config)
	if err != nil {
		return nil, err
	}
	config, err := io.ReadAll(io.LimitReader(body, m.config.Size))
	if err = errors.Join(err, body.Close()); err != nil {
		return nil, err
	}
	if bundle.DigestOf(config) != m.config.Digest {
		return nil, fmt.Errorf("%w: %s", bundle.ErrDigest, m.config.Digest)
	}
	told, err := parseImport(config)
	if err == nil && (told.Bundle != index || told.artifactType() != m.artifactType) {
		err = fmt.Errorf("%w: import record %s is of another bundle, or another artifact type", bundle.ErrFormat, m.digest)
	}
	if err != nil {
		return nil, err
	}
	return &Imported{*told, repo, m.placed}, nil
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
		case !counts.add(&p):
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
