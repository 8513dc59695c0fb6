package harbor

import (
	"context"
	"net/http"
	"regexp"
	"strconv"
	"time"

	"airgap/bundle/strictjson"
)

// Who may create projects, in System.ProjectCreation.
const (
	CreationEveryone  = "everyone"
	CreationAdminOnly = "adminonly"
)

// System is the state of a Harbor as a whole.
type System struct {
	Version string // such as "v2.14.4-1a2b3c4d"; empty where it is not shown
	// Known tells whether ReadOnly and ProjectCreation are: Harbor shows them to those only who are logged in.
	Known           bool
	ReadOnly        bool   // nothing can be pushed
	ProjectCreation string // CreationEveryone or CreationAdminOnly; system administrators can in any case
	ExternalURL     string // what Harbor takes for its own address, also in its Bearer challenges
	// Clock is Harbor's time when it answered, to the second; zero where it does not say.
	Clock time.Time
}

// System asks for the state of the system. (getSystemInfo)
func (c *Client) System(ctx context.Context) (System, error) {
	k := call{op: "read the state of Harbor at", path: "/systeminfo", limit: maxDocument}
	answer, err := c.do(ctx, k)
	if err != nil {
		return System{}, err
	}
	system, err := parseSystem(answer.Body)
	if err != nil {
		return System{}, c.malformed(k, err)
	}
	if clock, err := http.ParseTime(answer.Header.Get("Date")); err == nil {
		system.Clock = clock
	}
	return system, nil
}

func parseSystem(body []byte) (System, error) {
	var info struct {
		Version     string  `json:"harbor_version"`
		ReadOnly    *bool   `json:"read_only"`
		Creation    *string `json:"project_creation_restriction"`
		ExternalURL string  `json:"external_url"`
	}
	if err := strictjson.Unmarshal(body, &info); err != nil {
		return System{}, err
	}
	system := System{Version: info.Version, ExternalURL: info.ExternalURL}
	if info.ReadOnly != nil && info.Creation != nil {
		system.Known, system.ReadOnly, system.ProjectCreation = true, *info.ReadOnly, *info.Creation
	}
	return system, nil
}

var versionNumbers = regexp.MustCompile(`^v?(\d{1,6})\.(\d{1,6})(?:[.\-+].*)?$`)

// AtLeast tells whether Harbor is of that version or a later one; known is false where its version is not, as with
// builds from the main branch.
func (s System) AtLeast(major, minor int) (is, known bool) {
	numbers := versionNumbers.FindStringSubmatch(s.Version)
	if numbers == nil {
		return false, false
	}
	// The expression leaves nothing that Atoi would refuse.
	haveMajor, _ := strconv.Atoi(numbers[1])
	haveMinor, _ := strconv.Atoi(numbers[2])
	return haveMajor > major || haveMajor == major && haveMinor >= minor, true
}

// Account is who the client is for Harbor.
type Account struct {
	Name  string // empty for robots, of which Harbor does not tell it
	Robot bool
	Admin bool // a system administrator, who may see and do everything
}

// Account asks who the client is. Without an account, or with a wrong password, the error wraps ErrNotAllowed.
// (getCurrentUserInfo; robots are answered with 412)
func (c *Client) Account(ctx context.Context) (Account, error) {
	k := call{
		op: "ask for the account at", path: "/users/current", limit: maxDocument,
		accept: []int{http.StatusOK, http.StatusPreconditionFailed},
	}
	answer, err := c.do(ctx, k)
	if err != nil {
		return Account{}, err
	}
	if answer.Status == http.StatusPreconditionFailed {
		return Account{Robot: true}, nil
	}
	account, err := parseAccount(answer.Body)
	if err != nil {
		return Account{}, c.malformed(k, err)
	}
	return account, nil
}

func parseAccount(body []byte) (Account, error) {
	var user struct {
		Name string `json:"username"`
		// An administrator by Harbor's own list, or by what its source of accounts says.
		Admin     bool `json:"sysadmin_flag"`
		AdminRole bool `json:"admin_role_in_auth"`
	}
	if err := strictjson.Unmarshal(body, &user); err != nil {
		return Account{}, err
	}
	return Account{Name: user.Name, Admin: user.Admin || user.AdminRole}, nil
}
