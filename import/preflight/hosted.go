package preflight

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"airgap/export/registry"
	"airgap/import/finding"
	"airgap/import/parallel"
	"airgap/import/target"
)

// hosted is a registry service whose rules for repositories are known from its documentation.
type hosted struct {
	service  string
	host     *regexp.Regexp
	elements int    // how many a path needs at least
	layout   string // of a path
	// unknown tells whether an answer means that a repository is missing which a push would not make; nil: a push makes all.
	unknown func(error) bool
	// create returns the command that makes the repository of a path.
	create func(host []string, path string) string
}

var artifactRegistryUnknown = regexp.MustCompile(`Repository ".*" not found`)

var hostedServices = []hosted{
	{
		// https://docs.aws.amazon.com/AmazonECR/latest/userguide/repository-create.html: a repository must exist before a push,
		// unless a repository creation template makes it, which cannot be seen from here.
		service: "Amazon ECR", host: regexp.MustCompile(`^[0-9]{12}\.dkr\.ecr(?:-fips)?\.([a-z0-9-]+)\.amazonaws\.com(?:\.cn)?$`),
		elements: 1, layout: "NAME",
		unknown: func(err error) bool { return errors.Is(err, registry.ErrRepositoryUnknown) },
		create: func(host []string, path string) string {
			return fmt.Sprintf("aws ecr create-repository --repository-name %s --region %s", path, host[1])
		},
	}, {
		// https://cloud.google.com/artifact-registry/docs/docker/pushing-and-pulling: images are named
		// LOCATION-docker.pkg.dev/PROJECT/REPOSITORY/IMAGE, and the repository must exist. An image that is not there is answered
		// with the same code; the message tells.
		service: "Google Artifact Registry", host: regexp.MustCompile(`^([a-z0-9-]+)-docker\.pkg\.dev$`),
		elements: 3, layout: "PROJECT/REPOSITORY/IMAGE",
		unknown: func(err error) bool {
			var answer *registry.Error
			return errors.As(err, &answer) && answer.Status == 404 && artifactRegistryUnknown.MatchString(answer.Message)
		},
		create: func(host []string, path string) string {
			parts := strings.SplitN(path, "/", 3)
			return fmt.Sprintf("gcloud artifacts repositories create %s --repository-format=docker --location=%s --project=%s", parts[1], host[1], parts[0])
		},
	}, {
		// https://docs.github.com/en/packages/working-with-a-github-packages-registry/working-with-the-container-registry:
		// ghcr.io/NAMESPACE/IMAGE; a push makes the package, and it is private.
		service: "GitHub Container Registry", host: regexp.MustCompile(`^ghcr\.io$`),
		elements: 2, layout: "OWNER/IMAGE",
	},
}

// checkHosted applies the rules of the service that the target is, if it is one of those.
func (p *Preflight) checkHosted(ctx context.Context) error {
	host := p.options.Registry.RegistryStr()
	for i := range hostedServices {
		service := &hostedServices[i]
		match := service.host.FindStringSubmatch(host)
		if match == nil {
			continue
		}
		p.findings.Note(finding.CheckTarget, p.host(), service.service)
		return parallel.EachIndex(ctx, p.options.Jobs, len(p.inv.Repos), func(ctx context.Context, repo int) error {
			return p.checkHostedRepository(ctx, service, match, repo)
		})
	}
	return nil
}

func (p *Preflight) checkHostedRepository(ctx context.Context, service *hosted, host []string, at int) error {
	repo := p.inv.Repos[at]
	path := p.target.Path(repo)
	if strings.Count(path, "/")+1 < service.elements {
		p.unasked[at] = true
		p.findings.Block(finding.CheckRepository, repo.Name(), fmt.Sprintf("the path is too short for %s, where it is %s", service.service, service.layout),
			"give more of it with PREFIX or --map")
		return nil
	}
	probe := p.inv.Bundle.ManifestIndex() // for which the record is asked
	if manifests := p.inv.ManifestsIn(int32(at)); len(manifests) > 0 {
		probe = p.inv.Digest(manifests[0])
	} else if at != int(p.options.Record) {
		return nil
	}
	if service.unknown == nil {
		return nil
	}
	// GET, as the answer to HEAD has no code that would tell a repository from a manifest.
	_, _, err := p.target.Manifest(ctx, repo.Digest(probe.String()))
	if err != nil && service.unknown(err) {
		p.unasked[at] = true
		p.findings.Block(finding.CheckRepository, repo.Name(), "there is no such repository, and a push does not make one", "create it first: "+service.create(host, path))
	}
	if target.IsFinal(ctx, err) {
		return err
	}
	return nil
}
