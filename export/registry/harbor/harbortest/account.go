package harbortest

import (
	"crypto/rand"
	"encoding/base64"
	"net/http"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
)

// Account is a user or a robot.
type Account struct{ Name, Secret string }

// Admin is the system administrator.
var Admin = Account{Name: "admin", Secret: "Harbor12345-of-the-fake"}

// Keychain returns a keychain with this account for everything.
func (a Account) Keychain() authn.Keychain { return keychain{a} }

type keychain struct{ account Account }

// Resolve implements authn.Keychain.
func (k keychain) Resolve(authn.Resource) (authn.Authenticator, error) {
	return authn.FromConfig(authn.AuthConfig{Username: k.account.Name, Password: k.account.Secret}), nil
}

// Right is something that an account may do, as "resource:action" of Harbor's robot permissions.
type Right string

// Rights in a project. Push includes Pull.
const (
	Pull               Right = "repository:pull"
	Push               Right = "repository:push"
	Delete             Right = "repository:delete"
	DeleteTag          Right = "tag:delete" // assumed
	ListRepositories   Right = "repository:list"
	ReadProject        Right = "project:read"
	ReadQuota          Right = "quota:read"
	ReadArtifacts      Right = "artifact:read"
	ListArtifacts      Right = "artifact:list"
	ListAccessories    Right = "accessory:list"
	ListImmutableRules Right = "immutable-tag:list"
)

// Rights in the system.
const (
	CreateProject Right = "project:create"
	ReadGC        Right = "garbage-collection:read"
	ListQuotas    Right = "quota:list"
)

// Names that stand for projects where rights are given.
const (
	AllProjects = "*"
	TheSystem   = "/"
)

// Sets of rights, as Harbor's roles have them.
var (
	Guest        = []Right{Pull, ListRepositories, ReadProject, ReadQuota, ReadArtifacts, ListArtifacts, ListAccessories}
	Developer    = append(slices.Clip(Guest), Push)
	ProjectAdmin = append(slices.Clip(Developer), Delete, DeleteTag, ListImmutableRules)

	// public is what anybody may do in a public project.
	public = []Right{Pull, ListRepositories, ReadProject, ReadArtifacts, ListArtifacts, ListAccessories}
)

// account is one with what it may do, by project.
type account struct {
	Account
	id       int
	admin    bool
	robot    bool
	project  string // whose robot it is; empty for a system robot
	disabled bool
	rights   map[string][]Right
}

// AddUser adds a person, who is a member of no project.
func (s *Server) AddUser(name string) Account {
	return s.add(&account{Account: Account{Name: name}})
}

// AddMember gives an account rights in a project; Guest, Developer and ProjectAdmin are roles. AllProjects and TheSystem
// may stand for the project.
func (s *Server) AddMember(project string, who Account, rights ...Right) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.accounts[who.Name]
	a.rights[project] = append(a.rights[project], rights...)
}

// AddRobot adds a robot of a project, called robot$project+name.
func (s *Server) AddRobot(project, name string, rights ...Right) Account {
	return s.add(&account{
		Account: Account{Name: "robot$" + project + "+" + name}, robot: true, project: project, rights: map[string][]Right{project: rights},
	})
}

// AddSystemRobot adds a robot of the system, called robot$name, with rights by project.
func (s *Server) AddSystemRobot(name string, rights map[string][]Right) Account {
	own := map[string][]Right{}
	for project, list := range rights {
		own[project] = slices.Clone(list)
	}
	return s.add(&account{Account: Account{Name: "robot$" + name}, robot: true, rights: own})
}

// Disable makes an account's secret wrong from now on. Its tokens stay good for their time.
func (s *Server) Disable(who Account) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.accounts[who.Name].disabled = true
}

func (s *Server) add(a *account) Account {
	s.mu.Lock()
	defer s.mu.Unlock()
	a.Secret = "secret-" + rand.Text()
	a.id = s.id("user")
	if a.rights == nil {
		a.rights = map[string][]Right{}
	}
	s.accounts[a.Name] = a
	return a.Account
}

// can tells whether an account, which may be nil for nobody, has a right in a project.
func (a *account) can(right Right, p *project) bool {
	if p.Public && slices.Contains(public, right) {
		return true
	}
	if a == nil {
		return false
	}
	has := func(rights []Right) bool {
		return slices.Contains(rights, right) || right == Pull && slices.Contains(rights, Push)
	}
	return a.admin || has(a.rights[p.Name]) || has(a.rights[AllProjects])
}

// canInSystem tells whether an account has a right outside of projects.
func (a *account) canInSystem(right Right) bool {
	return a != nil && (a.admin || slices.Contains(a.rights[TheSystem], right))
}

// identity is what a request's Authorization header proves.
type identity struct {
	sent    bool     // there is one, whatever it proves
	account *account // by a password
	token   *claims
}

// identify reads the Authorization header. A wrong password or token is no error here: it proves nothing.
func (x *exchange) identify() identity {
	header := x.r.Header.Get("Authorization")
	who := identity{sent: header != ""}
	if user, secret, ok := x.r.BasicAuth(); ok {
		if a := x.accounts[user]; a != nil && a.Secret == secret && !a.disabled {
			who.account = a
		}
	}
	if token, ok := strings.CutPrefix(header, "Bearer "); ok {
		who.token = x.readToken(token)
	}
	return who
}

// can tells whether the request may do that to repositories of p. A token counts for the whole project: Harbor looks at
// the projects of its scopes alone.
func (who identity) can(right Right, p *project) bool {
	if who.token != nil {
		return who.token.allows(right, p) || p.Public && right == Pull
	}
	return who.account.can(right, p)
}

// forged tells whether the request has Harbor's session cookie, but not the token that a browser would send with it.
func (x *exchange) forged() bool {
	_, err := x.r.Cookie("sid")
	return err == nil && x.r.Method != http.MethodGet && x.r.Method != http.MethodHead
}

func randomBase64() string {
	return base64.StdEncoding.EncodeToString([]byte(rand.Text() + rand.Text()))
}
