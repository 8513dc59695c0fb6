package registry

import (
	"context"
	"errors"
	"net/http"

	"github.com/google/go-containerregistry/pkg/name"
)

// remove is the action of a session that deletes, as scopes of distribution's token services name it.
const remove = "delete"

// ErrNoDeletion: the registry does not delete tags.
var ErrNoDeletion = errors.New("the registry does not delete tags")

// DeleteTag deletes a tag. By the specification the manifest, and its other tags, stay; some registries delete a manifest
// with its last tag, or with any, so who needs it has to look for it afterwards. "If tag deletion is disabled, the registry
// MUST respond with either a 400 Bad Request or a 405 Method Not Allowed", which is ErrNoDeletion. A tag that is not there
// is ErrNotFound; some who do not delete tags answer so, too.
// https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#deleting-tags
func (c *Client) DeleteTag(ctx context.Context, tag name.Tag) error {
	r := manifestRequest("delete tag", http.MethodDelete, c.core.session(tag.Context(), remove), tag)
	// 202 is what the specification wants.
	r.accept = []int{http.StatusAccepted, http.StatusOK, http.StatusNoContent}
	_, _, err := c.core.fetch(ctx, r, maxAnswer)
	var e *Error
	if errors.As(err, &e) && (e.Status == http.StatusBadRequest || e.Status == http.StatusMethodNotAllowed || e.HasCode(codeUnsupported)) {
		e.Err = ErrNoDeletion
	}
	return err
}
