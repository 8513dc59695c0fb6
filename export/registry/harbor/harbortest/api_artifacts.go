package harbortest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"airgap/bundle"
)

func repositoryDocument(p *project, r *repository) map[string]any {
	return map[string]any{
		"artifact_count": len(topLevel(r)), "creation_time": timestamp(r.made), "update_time": timestamp(r.made), "id": r.id,
		"name": p.Name + "/" + r.name, "project_id": p.id, "pull_count": 0,
	}
}

func (x *exchange) listRepositories(segments []string) answer {
	p, refusal := x.project(segments[0], ListRepositories)
	if refusal != nil {
		return *refusal
	}
	return x.repositoriesOf(p)
}

// allRepositories shows strangers those of public projects (src/server/v2.0/handler/repository.go).
func (x *exchange) allRepositories([]string) answer {
	return x.repositoriesOf(x.projectsByName()...)
}

// repositoriesOf lists those that the account may see, the newest first.
func (x *exchange) repositoriesOf(projects ...*project) answer {
	type entry struct {
		id  int
		doc any
	}
	list := []entry{}
	for _, p := range projects {
		for _, r := range p.repos {
			if x.who.account.can(ListRepositories, p) {
				list = append(list, entry{r.id, repositoryDocument(p, r)})
			}
		}
	}
	slices.SortFunc(list, func(a, b entry) int { return b.id - a.id })
	docs := []any{}
	for _, one := range list {
		docs = append(docs, one.doc)
	}
	return paged(x, docs)
}

func (x *exchange) deleteRepository(segments []string) answer {
	p, refusal := x.project(segments[0], Delete)
	if refusal != nil {
		return *refusal
	}
	name := unescape(segments[1])
	if p.repos[name] == nil {
		return notFound(fmt.Sprintf("repository %s/%s not found", p.Name, name))
	}
	delete(p.repos, name)
	return status(http.StatusOK)
}

// topLevel are the artifacts that Harbor lists: not those of an index without a tag of their own, and no accessories; the
// newest first.
func topLevel(r *repository) []*artifact {
	list := slices.DeleteFunc(r.byAge(), func(a *artifact) bool {
		return a.accessory != "" || len(r.tagsOf(a.digest)) == 0 && r.isChild(a.digest)
	})
	slices.Reverse(list)
	return list
}

func (x *exchange) listArtifacts(segments []string) answer {
	p, refusal := x.project(segments[0], ListArtifacts)
	if refusal != nil {
		return *refusal
	}
	docs := []any{}
	if r := p.repos[unescape(segments[1])]; r != nil {
		for _, a := range topLevel(r) {
			if x.r.URL.Query().Get("q") != "tags=*" || len(r.tagsOf(a.digest)) > 0 {
				docs = append(docs, x.artifactDocument(p, r, a))
			}
		}
	}
	return paged(x, docs)
}

// found returns the artifact that a path is about, or an answer that there is none.
func (x *exchange) found(segments []string, right Right) (*project, *repository, *artifact, *answer) {
	p, refusal := x.project(segments[0], right)
	if refusal != nil {
		return nil, nil, nil, refusal
	}
	name := unescape(segments[1])
	r := p.repos[name]
	var a answer
	switch {
	case r == nil:
		a = notFound(fmt.Sprintf("repository %s/%s not found", p.Name, name))
	case r.find(segments[2]) == nil:
		a = artifactNotFound(p.Name+"/"+name, segments[2])
	default:
		return p, r, r.find(segments[2]), nil
	}
	return nil, nil, nil, &a
}

// getArtifact is not subject to pull policies.
func (x *exchange) getArtifact(segments []string) answer {
	p, r, a, refusal := x.found(segments, ReadArtifacts)
	if refusal != nil {
		return *refusal
	}
	return show(x.artifactDocument(p, r, a))
}

func (x *exchange) removeArtifact(segments []string) answer {
	p, refusal := x.project(segments[0], Delete)
	if refusal != nil {
		return *refusal
	}
	repo := unescape(segments[1])
	if refusal := deleteArtifact(p, p.Name+"/"+repo, repo, segments[2]); refusal != nil {
		return *refusal
	}
	return status(http.StatusOK)
}

func (x *exchange) listAccessories(segments []string) answer {
	p, r, a, refusal := x.found(segments, ListAccessories)
	if refusal != nil {
		return *refusal
	}
	return paged(x, accessoryDocuments(p, r, a.digest))
}

func (x *exchange) createTag(segments []string) answer {
	_, r, a, refusal := x.found(segments, Push)
	if refusal != nil {
		return *refusal
	}
	var request struct {
		Name string `json:"name"`
	}
	if err := json.Unmarshal(x.body, &request); err != nil || !tagName.MatchString(request.Name) {
		return refuse(http.StatusBadRequest, problem{Code: "BAD_REQUEST", Message: "invalid tag"})
	}
	if r.tags[request.Name] != nil {
		return refuse(http.StatusConflict, problem{Code: "CONFLICT", Message: fmt.Sprintf("tag %s already exists under the repository %d", request.Name, r.id)})
	}
	x.setTag(r, request.Name, a.digest)
	return status(http.StatusCreated)
}

func (x *exchange) deleteTag(segments []string) answer {
	p, r, a, refusal := x.found(segments[:3], DeleteTag)
	if refusal != nil {
		return *refusal
	}
	name := segments[3]
	switch t := r.tags[name]; {
	case t == nil || t.digest != a.digest:
		return notFound(fmt.Sprintf("tag %s not found", name))
	case p.immutable(r.name, name):
		return refuse(http.StatusPreconditionFailed, problem{Code: "PRECONDITION", Message: fmt.Sprintf("the tag %s configured as immutable, cannot be deleted", name)})
	}
	delete(r.tags, name)
	return status(http.StatusOK)
}

// accessoryDocuments are what the API shows under a digest.
func accessoryDocuments(p *project, r *repository, digest string) []any {
	docs := []any{}
	subjectID := 0
	if a := r.artifacts[digest]; a != nil {
		subjectID = a.id
	}
	for _, a := range r.accessoriesOf(digest) {
		docs = append(docs, map[string]any{
			"artifact_id": a.id, "creation_time": timestamp(a.pushed), "digest": a.digest, "icon": "", "id": a.accessoryID, "size": a.size,
			"subject_artifact_digest": digest, "subject_artifact_id": subjectID, "subject_artifact_repo": p.Name + "/" + r.name, "type": a.accessory,
		})
	}
	return docs
}

// artifactDocument has null for empty lists.
func (x *exchange) artifactDocument(p *project, r *repository, a *artifact) map[string]any {
	query := x.r.URL.Query()
	doc := map[string]any{
		"accessories": nil, "digest": a.digest, "icon": "", "id": a.id, "labels": nil, "manifest_media_type": a.mediaType,
		"media_type": a.mediaType, "project_id": p.id, "pull_time": "0001-01-01T00:00:00.000Z", "push_time": timestamp(a.pushed),
		"references": nil, "repository_id": r.id, "repository_name": p.Name + "/" + r.name, "size": a.size, "tags": nil, "type": "UNKNOWN",
	}
	config := a.manifest.configType()
	switch {
	case bundle.IsIndex(a.mediaType):
		doc["type"] = "IMAGE"
	case isImage(config):
		doc["type"] = "IMAGE"
		doc["extra_attrs"] = map[string]any{"architecture": "amd64", "author": "", "config": map[string]any{}, "created": nil, "os": "linux"}
		doc["addition_links"] = map[string]any{}
	case strings.Contains(config, "helm"):
		doc["type"] = "CHART"
	}
	if config != "" {
		doc["media_type"], doc["artifact_type"] = config, a.manifest.artifactType()
	}
	if len(a.manifest.Annotations) > 0 {
		doc["annotations"] = a.manifest.Annotations
	}
	if children := childDocuments(r, a); len(children) > 0 {
		doc["references"] = children
	}
	if docs := accessoryDocuments(p, r, a.digest); query.Get("with_accessory") == "true" && len(docs) > 0 {
		doc["accessories"] = docs
	}
	if docs := x.tagDocuments(p, r, a); query.Get("with_tag") != "false" && len(docs) > 0 {
		doc["tags"] = docs
	}
	return doc
}

func (x *exchange) tagDocuments(p *project, r *repository, a *artifact) []any {
	var docs []any
	for _, t := range r.tagsOf(a.digest) {
		docs = append(docs, map[string]any{
			"artifact_id": a.id, "id": t.id, "name": t.name, "pull_time": "0001-01-01T00:00:00.000Z", "push_time": timestamp(t.pushed), "repository_id": r.id,
			"immutable": x.r.URL.Query().Get("with_immutable_status") == "true" && p.immutable(r.name, t.name),
		})
	}
	return docs
}

func childDocuments(r *repository, a *artifact) []any {
	var docs []any
	for _, child := range a.manifest.Manifests {
		doc := map[string]any{"child_digest": child.Digest, "parent_id": a.id, "urls": nil}
		if found := r.artifacts[child.Digest]; found != nil {
			doc["child_id"] = found.id
		}
		if child.Platform != nil {
			doc["platform"] = child.Platform
		}
		if len(child.Annotations) > 0 {
			doc["annotations"] = child.Annotations
		}
		docs = append(docs, doc)
	}
	return docs
}
