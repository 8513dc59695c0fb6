package projects

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"airgap/export/registry"
	"airgap/export/registry/harbor"
	"airgap/import/finding"
)

// Row is a project of Harbor that was not there, and that the import creates.
type Row struct {
	Project string `json:"project"`
	Public  bool   `json:"public"`
	Quota   int64  `json:"quota,omitempty"` // bytes that were asked for; 0: what Harbor gives to all
	Status  Status `json:"status"`
}

// Status says how far the creation of a project got.
type Status string

// The values of Status.
const (
	Planned Status = "planned"  // not reached, or a dry run
	Created Status = "created"  // by this run
	InDoubt Status = "in doubt" // perhaps by this run, to which nobody answered
	Present Status = "present"  // somebody else was faster
)

func (r Row) describe() string {
	text := "private"
	if r.Public {
		text = "public"
	}
	if r.Quota > 0 {
		return text + ", with a quota of " + bytesText(r.Quota)
	}
	if r.Quota == harbor.Unlimited {
		return text + ", without a quota"
	}
	return text + ", with the quota that Harbor gives to all"
}

// Rows returns the projects that are missing and to be created, and how far that got.
func (p *Projects) Rows() []Row { return p.planned }

// Create creates the projects that are missing, and makes sure that the account can push to them. What it finds out about them
// is added to findings. The error says what is left behind.
func (p *Projects) Create(ctx context.Context, findings *finding.List) error {
	for i := range p.planned {
		row := &p.planned[i]
		created, err := p.harbor.CreateProject(ctx, harbor.NewProject{Name: row.Project, Public: row.Public, StorageLimit: row.Quota})
		if err != nil {
			if !errors.Is(err, harbor.ErrNotAllowed) && !errors.Is(err, harbor.ErrReadOnly) {
				row.Status = InDoubt
			}
			return p.stopped(err)
		}
		row.Status = Present // somebody else was faster, or an answer was lost
		if created {
			row.Status = Created
		}
	}
	p.target.ForgetTokens(p.harbor.Registry()) // Harbor 2.14.4 and later refuse those that are older than the project
	if err := p.lookAtCreated(ctx, findings); err != nil {
		return p.stopped(err)
	}
	return nil
}

// lookAtCreated repeats for the new projects what could not be known before. One that somebody else has made is looked at like
// any other.
func (p *Projects) lookAtCreated(ctx context.Context, findings *finding.List) error {
	l := p.look(findings)
	needs := p.needs()
	for i, one := range p.list {
		at := slices.IndexFunc(p.planned, func(row Row) bool { return row.Project == one.name })
		if at < 0 {
			continue
		}
		one.missing = false
		step := l.existing
		if p.planned[at].Status == Created {
			step = l.created
		}
		if err := step(ctx, one); err != nil {
			return err
		}
		if err := p.weighQuota(ctx, one, needs[i], findings); err != nil {
			return err
		}
	}
	if problems := finding.Problems(finding.OfLevel(findings.All(), finding.Blocks)); problems != nil {
		return fmt.Errorf("%w: %w", registry.ErrForbidden, problems)
	}
	return nil
}

// created looks at a project that this run has created: it has no rules, and is as public as was asked for. A quota that Harbor
// did not set is no failure: only system administrators may set one.
func (l look) created(ctx context.Context, p *project) error {
	if err := l.push(ctx, p); err != nil {
		return err
	}
	if err := l.quota(ctx, p); err != nil {
		return err
	}
	if want := l.options.Quota; want != 0 && p.quota != nil && p.quota.Hard != want {
		l.findings.Warn(finding.CheckQuota, p.subject(), "Harbor has not given it the quota that was asked for, as this account is not a system administrator's",
			"let a system administrator set it: Administration, Project Quotas")
	}
	return nil
}

// stopped says what is left behind.
func (p *Projects) stopped(err error) error {
	var made []string
	for _, row := range p.planned {
		switch row.Status {
		case Created:
			made = append(made, row.Project)
		case InDoubt:
			made = append(made, row.Project+" (perhaps)")
		}
	}
	if len(made) == 0 {
		return fmt.Errorf("nothing was written: %w", err)
	}
	return fmt.Errorf("nothing was pushed, and these projects were created and are empty: %s: %w", strings.Join(made, ", "), err)
}
