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
