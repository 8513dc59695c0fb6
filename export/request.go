package export

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"

	"airgap/bundle"
	"airgap/export/registry"
)

// Request is an image that the user asks for, and where it is to go.
type Request struct {
	Ref    name.Reference // by digest where one was given, else by tag
	Source string         // the full reference, for people and tables
	Path   string         // destination repository, without a registry
	Tag    string         // destination tag; "" where only a digest was given
	// Entry says where the request comes from, as in "regsync.yaml:12:5"; "" for the command line.
	Entry    string
	UsedBy   []string // sources of the charts that use it
	Settings Settings
}

// ParseRequest reads REF or REF=PATH[:TAG]. REF has a tag, a digest, or both (then the digest says what is fetched
// and the tag is the destination's); neither means the tag latest, and no registry means docker.io. Errors wrap
// ErrReference.
func ParseRequest(s string) (Request, error) {
	source, destination, mapped := strings.Cut(s, "=")
	r, err := parseReference(source)
	if err != nil {
		return Request{}, fmt.Errorf("%w: %q: %w", ErrReference, s, err)
	}
	if mapped {
		if r.Path, r.Tag, err = parseDestination(destination, r.Tag); err != nil {
			return Request{}, fmt.Errorf("%w: %q: %w", ErrReference, s, err)
		}
	}
	return r, nil
}

func parseReference(s string) (Request, error) {
	tagged, digest, pinned := strings.Cut(s, "@")
	tag, err := name.NewTag(tagged, name.WithDefaultTag(""))
	if err != nil {
		return Request{}, err
	}
	r := Request{Ref: tag, Path: tag.RepositoryStr(), Tag: tag.TagStr()}
	if r.Tag == "" && !pinned {
		r.Tag = name.DefaultTag
		r.Ref = tag.Context().Tag(r.Tag)
	}
	r.Source = registry.DisplayName(tag.Context().Name())
	if r.Tag != "" {
		r.Source += ":" + r.Tag
	}
	if pinned {
		d, err := bundle.ParseDigest(digest)
		if err != nil {
			return Request{}, err
		}
		r.Ref = tag.Context().Digest(d.String())
		r.Source += "@" + d.String()
	}
	return r, bundle.CheckPath(r.Path)
}

// parseDestination reads PATH[:TAG]; without a tag the source's stays.
func parseDestination(s, sourceTag string) (path, tag string, err error) {
	path, tag, tagged := strings.Cut(s, ":")
	if err := bundle.CheckPath(path); err != nil {
		return "", "", err
	}
	if !tagged {
		return path, sourceTag, nil
	}
	return path, tag, bundle.CheckTag(tag)
}

// maxListLine bounds a line of a list of images, in bytes.
const maxListLine = 4 << 10

// ReadRequests reads a list of images, as ParseRequest does: one per line, with # comments. fileName is for errors; all lines
// that are wrong are in one, which wraps ErrReference.
func ReadRequests(fileName string, list io.Reader) ([]Request, error) {
	var requests []Request
	var problems bundle.Problems
	lines := bufio.NewScanner(list)
	lines.Buffer(nil, maxListLine)
	for number := 1; lines.Scan(); number++ {
		line, _, _ := strings.Cut(lines.Text(), "#")
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		request, err := ParseRequest(line)
		if err != nil {
			problems.Add(fmt.Errorf("%s, line %d: %w", fileName, number, err))
			continue
		}
		requests = append(requests, request)
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("%s: %w", fileName, err)
	}
	return requests, problems.Err()
}

// Attestations says where to look for the referrers of images, besides their own repository.
type Attestations struct {
	rules     []attestationRule
	noDefault bool
}

type attestationRule struct{ source, target string }

// Docker keeps the attestations of hardened images that are mirrored into an organisation in a registry of its own.
// https://docs.docker.com/dhi/how-to/verify/
const (
	dhiRegistry          = registry.HubName
	dhiPrefix            = "dhi-"
	dhiAttestationServer = "registry.scout.docker.com"
)

// ParseAttestations reads rules of the form SRC=ATT: an image whose repository is SRC or below it has attestations
// at ATT, with the rest of its path kept; of several rules the one with the longest SRC counts (all of them, where
// it is given several times). Unless noDefault is set, images docker.io/ORG/dhi-* to which no rule applies are also
// looked up at registry.scout.docker.com/ORG/dhi-*.
func ParseAttestations(rules []string, noDefault bool) (Attestations, error) {
	a := Attestations{noDefault: noDefault}
	for _, rule := range rules {
		source, target, ok := strings.Cut(rule, "=")
		source, target = strings.TrimSuffix(source, "/"), strings.TrimSuffix(target, "/")
		if !ok || source == "" || target == "" || strings.ContainsAny(rule, "@ ") {
			return a, fmt.Errorf("%w: %q: SRC=ATT expected, as in docker.io/acme=registry.example.com/attestations/acme", ErrReference, rule)
		}
		a.rules = append(a.rules, attestationRule{qualified(source), qualified(target)})
	}
	return a, nil
}

// qualified spells a rule's registry as registry.DisplayName does, and adds Docker Hub where it names none. A rule may name
// less than a repository.
func qualified(rule string) string {
	if first, _, _ := strings.Cut(rule, "/"); !strings.ContainsAny(first, ".:") && first != "localhost" {
		return registry.HubName + "/" + rule
	}
	return registry.DisplayName(rule)
}

// For returns the attestation repositories of an image's repository.
func (a Attestations) For(r name.Repository) ([]name.Repository, error) {
	repository := registry.DisplayName(r.Name())
	var names []string
	longest := -1
	for _, rule := range a.rules {
		rest, ok := strings.CutPrefix(repository, rule.source)
		if !ok || rest != "" && rest[0] != '/' || len(rule.source) < longest {
			continue
		}
		if len(rule.source) > longest {
			longest, names = len(rule.source), nil
		}
		names = append(names, rule.target+rest)
	}
	if path, ok := strings.CutPrefix(repository, dhiRegistry+"/"); ok && longest < 0 && !a.noDefault {
		if org, image, _ := strings.Cut(path, "/"); org != "" && strings.HasPrefix(image, dhiPrefix) {
			names = append(names, dhiAttestationServer+"/"+path)
		}
	}
	var repositories []name.Repository
	for _, n := range names {
		repository, err := name.NewRepository(n)
		if err == nil && !strings.Contains(n, "/") { // which go-containerregistry takes for an image on Docker Hub
			err = errors.New("a registry alone is no repository")
		}
		if err != nil {
			return nil, fmt.Errorf("%w: attestation repository %q: %w", ErrReference, n, err)
		}
		repositories = append(repositories, repository)
	}
	return repositories, nil
}
