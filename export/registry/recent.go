package registry

import (
	"maps"
	"time"
)

// What a client remembers is bounded, as it may live for weeks and see more repositories, blobs and hosts than it needs to
// know of at any time; and what it has concluded of a registry is believed for a while, as registries change.

// believedFor is for how long a conclusion is believed after the last answer that supports it.
const believedFor = time.Hour

// Bounds on what is remembered, by the number of entries; see recent.
const (
	maxHosts    = 512
	maxSessions = 8192
	maxMirrored = 32768
	maxRefused  = 4096
)

// recent is a map that keeps the entries used last: max of them at least, and twice as many at most.
type recent[K comparable, V any] struct {
	max        int
	young, old map[K]V
}

func newRecent[K comparable, V any](limit int) recent[K, V] {
	return recent[K, V]{max: limit, young: map[K]V{}}
}

func (r *recent[K, V]) get(key K) (V, bool) {
	value, ok := r.young[key]
	if !ok {
		if value, ok = r.old[key]; ok {
			r.put(key, value)
		}
	}
	return value, ok
}

func (r *recent[K, V]) put(key K, value V) {
	if _, again := r.young[key]; !again && len(r.young) >= r.max {
		r.young, r.old = map[K]V{}, r.young
	}
	r.young[key] = value
}

func (r *recent[K, V]) deleteFunc(del func(K, V) bool) {
	maps.DeleteFunc(r.young, del)
	maps.DeleteFunc(r.old, del)
}
