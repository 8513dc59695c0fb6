package main

import (
	"context"

	"github.com/spf13/pflag"

	"airgap/bundle/volume"
	"airgap/cmd/airgap/app"
	"airgap/export/registry"
	"airgap/export/registry/harbor"
	importer "airgap/import"
	"airgap/import/finding"
	"airgap/import/projects"
	"airgap/import/report"
)

// projectFlags are the flags of import about the projects that it creates in Harbor.
type projectFlags struct {
	create bool
	public bool
	quota  string
}

func (p *projectFlags) add(f *pflag.FlagSet) {
	f.BoolVar(&p.create, "create-projects", false, "create projects that Harbor does not have, private ones")
	f.BoolVar(&p.public, "project-public", false, "create public projects, from which anybody can pull")
	f.StringVar(&p.quota, "project-quota", "", "`SIZE` that a created project may have, as in 500GB, or unlimited (default: what Harbor gives to all)")
}

// apply reads the flags into o.
func (p *projectFlags) apply(o *importer.Options) error {
	o.CreateProjects, o.ProjectPublic = p.create, p.public
	if !p.create && (p.public || p.quota != "") {
		return app.Usagef("--project-public and --project-quota are about what --create-projects creates, which is not given")
	}
	switch p.quota {
	case "":
	case "unlimited":
		o.ProjectQuota = harbor.Unlimited
	default:
		var ok bool
		if o.ProjectQuota, ok = volume.ParseBytes(p.quota); !ok || o.ProjectQuota == 0 {
			return app.Usagef("--project-quota: %q is no size; a number with a unit is expected, as in 500GB or 500GiB, or unlimited", p.quota)
		}
	}
	return nil
}

// findHarbor returns the API of the target; nil where it is another registry.
func findHarbor(ctx context.Context, client *registry.Client, o importer.Options) (*harbor.Client, error) {
	found, err := harbor.Find(ctx, client, o.Destination.Registry)
	if err == nil && found == nil && o.CreateProjects {
		return nil, app.Usagef("--create-projects is for Harbor, and %s is another registry: leave it out", o.Destination.Registry.Name())
	}
	return found, err
}

// showFindings prints what the preflight found that is neither a warning nor an error, which are shown as they come.
func showFindings(a *app.App, r *report.Report) {
	var notes []finding.Finding
	for _, found := range r.Findings {
		if found.Level == finding.Note {
			notes = append(notes, found)
		}
	}
	for _, text := range finding.Lines(notes) {
		a.Say("%s", text)
	}
	for _, project := range r.Projects {
		if project.Status == projects.Created {
			a.Say("created the project %s", project.Project)
		}
	}
}
