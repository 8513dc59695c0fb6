package harbor

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"airgap/bundle"
	"airgap/export/registry"
)

// ErrImmutable: a rule of the project makes the tag immutable.
var ErrImmutable = errors.New("immutable tag of Harbor")

// ErrReferenced: an artifact has a tag that is immutable, or an index lists it.
var ErrReferenced = errors.New("an index of Harbor lists it, or one of its tags is immutable")

// DeleteTag deletes the tag of an artifact, whose repository is named without the project. Only the tag goes: the artifact
// stays, without a tag if it has no other, until garbage collection or a retention rule takes it. registry.ErrNotFound is
// for a tag that the artifact does not have, so that a tag which was moved meanwhile stays. Robots need the permission
// "delete" of the resource "tag". (deleteTag; ErrImmutable was observed at Harbor 2.14.4)
func (c *Client) DeleteTag(ctx context.Context, project, repository string, d bundle.Digest, tag string) error {
	k, err := artifactCall(fmt.Sprintf("delete the tag %.128q of", tag), project, repository, d.String(), "/tags/"+tag)
	if err == nil {
		err = bundle.CheckTag(tag)
	}
	if err != nil {
		return err
	}
	k.method, k.limit = http.MethodDelete, maxDocument
	_, err = c.do(ctx, k)
	var e *registry.Error
	if errors.As(err, &e) && e.Status == http.StatusPreconditionFailed {
		return refusal{e, ErrImmutable} // and not what it means elsewhere, see explain
	}
	return err
}

// DeleteArtifact deletes an artifact, whose repository is named without the project, with all of its tags and accessories; what it lists
// goes with it unless something else does. registry.ErrNotFound is for one that is not there, ErrReferenced for one that an index
// lists. Robots need the permission "delete" of the resource "artifact". (deleteArtifact)
func (c *Client) DeleteArtifact(ctx context.Context, project, repository string, d bundle.Digest) error {
	k, err := artifactCall("delete", project, repository, d.String(), "")
	if err != nil {
		return err
	}
	k.method, k.limit = http.MethodDelete, maxDocument
	_, err = c.do(ctx, k)
	var e *registry.Error
	if errors.As(err, &e) && e.Status == http.StatusPreconditionFailed {
		return refusal{e, ErrReferenced}
	}
	return err
}
