package harbortest

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"time"
)

// tokenLeeway is for how long after their time tokens are still honoured: one 63 s old that was good for 60 s was, one
// 125 s old was not.
const tokenLeeway = time.Minute

const tokenService = "harbor-registry"

// claims are the payload of a token.
type claims struct {
	Issuer   string   `json:"iss"`
	Subject  string   `json:"sub"`
	Audience string   `json:"aud"`
	Expires  int64    `json:"exp"`
	From     int64    `json:"nbf"`
	Issued   int64    `json:"iat"`
	ID       string   `json:"jti"`
	Projects int      `json:"projects"` // how many there had been when it was issued, for want of a clock that tells seconds apart
	Access   []access `json:"access"`
}

// access is what a token allows.
type access struct {
	Type    string   `json:"type"`
	Name    string   `json:"name"`
	Actions []string `json:"actions"`
}

// actions of scopes and the rights that they stand for.
var actions = []struct {
	name  string
	right Right
}{{"pull", Pull}, {"push", Push}, {"delete", Delete}}

// allows tells whether the token grants that. What is older than the project is for another of the same name, which was
// deleted: Harbor 2.14.4 and later take it for nothing (observed, of no more than that it is so).
func (c *claims) allows(right Right, p *project) bool {
	if c.Projects < p.id {
		return false
	}
	for _, a := range c.Access {
		project, _, _ := strings.Cut(a.Name, "/")
		if a.Type != "repository" || project != p.Name {
			continue
		}
		for _, action := range actions {
			if action.right == right && slices.Contains(a.Actions, action.name) {
				return true
			}
		}
	}
	return false
}

// token is GET /service/token.
func (x *exchange) token() answer {
	query := x.r.URL.Query()
	if x.r.Method != http.MethodGet {
		return text(http.StatusMethodNotAllowed, "Method Not Allowed\n")
	}
	if service := query.Get("service"); service != tokenService {
		return text(http.StatusBadRequest, "Unable to handle service: "+service+"\n")
	}
	scopes := strings.Fields(strings.Join(query["scope"], " "))
	if x.who.account == nil && len(scopes) == 0 {
		return status(http.StatusUnauthorized)
	}
	now := x.now()
	c := claims{
		Issuer: "harbor-token-issuer", Audience: tokenService, ID: rand.Text(),
		Issued: now.Unix(), Projects: x.lastID["project"], From: now.Unix(), Expires: now.Add(x.set.TokenLifetime).Unix(),
	}
	if x.who.account != nil {
		c.Subject = x.who.account.Name
	}
	for _, scope := range scopes {
		if parts := strings.Split(scope, ":"); len(parts) == 3 {
			c.Access = append(c.Access, access{Type: parts[0], Name: parts[1], Actions: x.grant(parts[0], parts[1])})
		}
	}
	return answer{
		status: http.StatusOK, header: http.Header{"Content-Type": {typeJSON}},
		body: marshal(map[string]any{
			"token": x.sign(c), "access_token": "", "expires_in": int(x.set.TokenLifetime.Seconds()), "issued_at": now.UTC().Format(time.RFC3339),
		}),
	}
}

// grant returns all that the account may do, asked for or not; nothing, and no error, for who may do nothing.
func (x *exchange) grant(kind, name string) []string {
	granted := []string{}
	switch kind {
	case "registry":
		if x.who.account != nil && x.who.account.admin {
			granted = append(granted, "*")
		}
	case "repository":
		project, _, ok := strings.Cut(name, "/")
		p := x.projects[project]
		if !ok || p == nil {
			break
		}
		for _, action := range actions {
			if x.who.account.can(action.right, p) {
				granted = append(granted, action.name)
			}
		}
	}
	return granted
}

// sign makes a token of the shape of a JWT.
func (s *Server) sign(c claims) string {
	encode := base64.RawURLEncoding.EncodeToString
	payload, err := json.Marshal(c)
	if err != nil {
		panic(err)
	}
	signed := encode([]byte(`{"alg":"HS256","typ":"JWT"}`)) + "." + encode(payload)
	return signed + "." + encode(s.mac(signed))
}

func (s *Server) mac(signed string) []byte {
	mac := hmac.New(sha256.New, s.key)
	mac.Write([]byte(signed))
	return mac.Sum(nil)
}

// readToken returns the claims of a token that is good now, or nil.
func (s *Server) readToken(token string) *claims {
	end := strings.LastIndex(token, ".")
	if end < 0 {
		return nil
	}
	_, payload, _ := strings.Cut(token[:end], ".")
	mac, err := base64.RawURLEncoding.DecodeString(token[end+1:])
	if err != nil || !hmac.Equal(mac, s.mac(token[:end])) {
		return nil
	}
	var c claims
	decoded, err := base64.RawURLEncoding.DecodeString(payload)
	if err != nil || json.Unmarshal(decoded, &c) != nil || s.now().After(time.Unix(c.Expires, 0).Add(tokenLeeway)) {
		return nil
	}
	return &c
}

// challenge is how a request is told to log in. Only one without any Authorization header is told of the token service:
// one whose token has expired is asked for a password.
func (x *exchange) challenge(wanted []need) string {
	if x.who.sent {
		return `Basic realm="harbor"`
	}
	scheme := x.set.RealmScheme
	if scheme == "" {
		scheme, _, _ = strings.Cut(x.base(), "://")
	}
	challenge := `Bearer realm="` + scheme + "://" + x.r.Host + `/service/token",service="` + tokenService + `"`
	var scopes []string
	for _, n := range wanted {
		if n.repository != "" {
			scopes = append(scopes, "repository:"+n.repository+":"+n.scope())
		}
	}
	if len(scopes) > 0 {
		challenge += `,scope="` + strings.Join(scopes, " ") + `"`
	}
	return challenge
}
