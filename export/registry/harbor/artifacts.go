package harbor

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"

	"airgap/bundle"
	"airgap/bundle/strictjson"
)

// Types of accessories, as Harbor calls them.
const (
	AccessoryCosign   = "signature.cosign"
	AccessoryNotation = "signature.notation"
	AccessorySBOM     = "sbom.harbor" // made by Harbor's own scanner
	// AccessoryPlain is any other artifact with a subject. Before Harbor 2.15, that is also what a signature is that
	// cosign 3 wrote as a Sigstore bundle.
	AccessoryPlain = "subject.accessory"
)

// Accessory is an artifact that Harbor shows as belonging to another.
type Accessory struct {
	Type          string
	Digest        bundle.Digest
	Size          int64 // bytes, of the manifest and what it names
	SubjectDigest bundle.Digest
}

// Tag is a name of an artifact.
type Tag struct {
	Name      string
	Immutable bool // it cannot be moved or deleted, nor pushed again as it is
}

// Artifact is a manifest as Harbor shows it, whatever pull policies say of it.
type Artifact struct {
	Digest          bundle.Digest
	Size            int64  // bytes, of the manifest and what it names
	MediaType       string // of the manifest
	ConfigMediaType string // or that of the manifest where it is an index
	ArtifactType    string // by the manifest, or ConfigMediaType; empty for an index
	Tags            []Tag
	Accessories     []Accessory
}

// artifactsPath is where the artifacts of a repository of that project are. A repository's name is escaped twice, so that Harbor
// finds a slash in it escaped once: escaped once it is 404.
func artifactsPath(project, repository string) (string, error) {
	if err := CheckProjectName(project); err != nil {
		return "", err
	}
	if err := bundle.CheckPath(repository); err != nil {
		return "", err
	}
	return "/projects/" + project + "/repositories/" + url.PathEscape(repository) + "/artifacts", nil
}

// artifactPath is where one of them is.
func artifactPath(project, repository, reference string) (string, error) {
	if _, err := bundle.ParseDigest(reference); err != nil {
		if err := bundle.CheckTag(reference); err != nil {
			return "", err
		}
	}
	path, err := artifactsPath(project, repository)
	return path + "/" + reference, err
}

// artifactCall is a request for an artifact; repository is without the project, and reference a tag or a digest.
func artifactCall(op, project, repository, reference, part string) (call, error) {
	path, err := artifactPath(project, repository, reference)
	separator := ":"
	if _, err := bundle.ParseDigest(reference); err == nil {
		separator = "@"
	}
	return call{op: fmt.Sprintf("%s %s/%s%s%s at", op, project, repository, separator, reference), path: path + part, limit: maxListing}, err
}

// Artifact returns what Harbor's API has under a tag or a digest of a repository, whose name is given without the project.
// Pull policies do not apply to it: where HEAD and GET of a manifest are answered with 412, this still tells what is
// there. registry.ErrNotFound is for an artifact, a repository or, if the account may see that, a project that does not
// exist. (getArtifact)
func (c *Client) Artifact(ctx context.Context, project, repository, reference string) (Artifact, error) {
	k, err := artifactCall("read", project, repository, reference, "")
	if err != nil {
		return Artifact{}, err
	}
	k.query = url.Values{"with_tag": {"true"}, "with_accessory": {"true"}, "with_immutable_status": {"true"}}
	answer, err := c.do(ctx, k)
	if err != nil {
		return Artifact{}, err
	}
	artifact, err := parseArtifact(answer.Body)
	if want, digestErr := bundle.ParseDigest(reference); err == nil && digestErr == nil && artifact.Digest != want {
		err = fmt.Errorf("%w: it is about %s", bundle.ErrDigest, artifact.Digest)
	}
	if err != nil {
		return Artifact{}, c.malformed(k, err)
	}
	return artifact, nil
}

// Artifacts lists the artifacts of a repository, at most as many as are wanted: more are an error that wraps bundle.ErrLimit,
// after one request. Neither accessories nor, unless they have a tag, what an index lists are among them. Harbor lists what its
// database has, without a look at its storage; and where it cannot read the tags or the accessories of an artifact, it leaves
// them out and does not say so: what is listed is there, what is not may be there all the same. (listArtifacts)
func (c *Client) Artifacts(ctx context.Context, project, repository string, most int) ([]Artifact, error) {
	path, err := artifactsPath(project, repository)
	if err != nil {
		return nil, err
	}
	k := call{
		op: fmt.Sprintf("list the artifacts of %s/%s at", project, repository), path: path,
		query: url.Values{"with_tag": {"true"}, "with_accessory": {"true"}},
	}
	return list(ctx, c, k, min(most, maxEntries), parseArtifacts, func(a Artifact) bundle.Digest { return a.Digest })
}

// Accessories lists all that Harbor shows under an artifact, which may be the child of an index; see Artifact.
// (listAccessories)
func (c *Client) Accessories(ctx context.Context, project, repository, reference string) ([]Accessory, error) {
	k, err := artifactCall("list the accessories of", project, repository, reference, "/accessories")
	if err != nil {
		return nil, err
	}
	k.method = http.MethodGet
	return list(ctx, c, k, maxEntries, parseAccessories, func(a Accessory) bundle.Digest { return a.Digest })
}

// digest is one that has to be there.
type digest bundle.Digest

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *digest) UnmarshalText(text []byte) error {
	parsed, err := bundle.ParseDigest(string(text))
	*d = digest(parsed)
	return err
}

type accessoryDocument struct {
	Type    string  `json:"type"`
	Digest  *digest `json:"digest"`
	Size    int64   `json:"size"`
	Subject *digest `json:"subject_artifact_digest"`
}

func parseAccessories(body []byte) ([]Accessory, error) {
	var docs []accessoryDocument
	if err := strictjson.Unmarshal(body, &docs); err != nil {
		return nil, err
	}
	return accessories(docs)
}

func accessories(docs []accessoryDocument) ([]Accessory, error) {
	var found []Accessory
	for _, doc := range docs {
		if doc.Digest == nil || doc.Subject == nil {
			return nil, fmt.Errorf("%w: an accessory without a digest", bundle.ErrFormat)
		}
		found = append(found, Accessory{
			Type: doc.Type, Digest: bundle.Digest(*doc.Digest), Size: doc.Size, SubjectDigest: bundle.Digest(*doc.Subject),
		})
	}
	return found, nil
}

// artifactDocument is an artifact. Parts of it hold labels and annotations, whose keys are their authors' and may differ in case
// alone: they are passed over as they are (see strictjson).
type artifactDocument struct {
	Digest       *digest `json:"digest"`
	Size         int64   `json:"size"`
	MediaType    string  `json:"manifest_media_type"`
	ConfigType   string  `json:"media_type"`
	ArtifactType string  `json:"artifact_type"`
	Tags         []struct {
		Name      string `json:"name"`
		Immutable bool   `json:"immutable"`
	} `json:"tags"`
	Accessories []accessoryDocument `json:"accessories"`

	ExtraAttributes json.RawMessage `json:"extra_attrs"`
	Annotations     json.RawMessage `json:"annotations"`
	References      json.RawMessage `json:"references"`
	Links           json.RawMessage `json:"addition_links"`
}

func parseArtifact(body []byte) (Artifact, error) {
	var doc artifactDocument
	if err := strictjson.Unmarshal(body, &doc); err != nil {
		return Artifact{}, err
	}
	return doc.artifact()
}

func parseArtifacts(body []byte) ([]Artifact, error) {
	var docs []artifactDocument
	if err := strictjson.Unmarshal(body, &docs); err != nil {
		return nil, err
	}
	var artifacts []Artifact
	for _, doc := range docs {
		artifact, err := doc.artifact()
		if err != nil {
			return nil, err
		}
		artifacts = append(artifacts, artifact)
	}
	return artifacts, nil
}

func (doc artifactDocument) artifact() (Artifact, error) {
	if doc.Digest == nil {
		return Artifact{}, fmt.Errorf("%w: an artifact without a digest", bundle.ErrFormat)
	}
	artifact := Artifact{
		Digest: bundle.Digest(*doc.Digest), Size: doc.Size,
		MediaType: doc.MediaType, ConfigMediaType: doc.ConfigType, ArtifactType: doc.ArtifactType,
	}
	for _, tag := range doc.Tags {
		if err := bundle.CheckTag(tag.Name); err != nil {
			return Artifact{}, err
		}
		artifact.Tags = append(artifact.Tags, Tag{Name: tag.Name, Immutable: tag.Immutable})
	}
	var err error
	artifact.Accessories, err = accessories(doc.Accessories)
	return artifact, err
}
