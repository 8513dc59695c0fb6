package harbortest

import (
	"fmt"
	"net/http"
)

// deleteProject removes a project that has no repositories; only an administrator may here. (Operation deleteProject of the
// API's description; the words of the 412 are assumed.)
func (x *exchange) deleteProject(segments []string) answer {
	p, refusal := x.project(segments[0], Delete)
	switch {
	case refusal != nil:
		return *refusal
	case !x.who.account.admin:
		return x.forbidden()
	case len(p.repos) > 0:
		return refuse(http.StatusPreconditionFailed, problem{
			Code: "PRECONDITION", Message: fmt.Sprintf("the project %s contains repositories, can not be deleted", p.Name),
		})
	}
	delete(x.projects, p.Name)
	return status(http.StatusOK)
}
