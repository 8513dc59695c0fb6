package registry

import (
	"sync/atomic"
	"time"

	"airgap/export/registry/auth"
)

// Actions of a session, as scopes name them.
const (
	pull     = "pull"
	pullPush = "pull,push"
)

// sessionKey is what a session may be shared for.
type sessionKey struct {
	registry string
	scope    auth.Scope
}

// session is an auth.Session, and what has come of it.
type session struct {
	*auth.Session
	home   *host
	works  atomic.Bool  // a request has been answered well
	known  atomic.Int64 // when there last were manifests in the repository, in nanoseconds since 1970
	public atomic.Int64 // when one of them was last seen without an account
}

// saw notes that a request was answered with a manifest, for an account or for anybody.
func (s *session) saw(account bool, now time.Time) {
	s.known.Store(now.UnixNano())
	if !account {
		s.public.Store(now.UnixNano())
	}
}

// isKnown tells whether there have been manifests in the repository lately.
func (s *session) isKnown(now time.Time) bool { return isRecent(&s.known, now) }

// isPublic tells whether manifests of the repository have been seen without an account lately.
func (s *session) isPublic(now time.Time) bool { return isRecent(&s.public, now) }

func isRecent(at *atomic.Int64, now time.Time) bool {
	return now.Sub(time.Unix(0, at.Load())) < believedFor
}
