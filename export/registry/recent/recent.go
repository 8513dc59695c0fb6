// Package recent remembers what was used last. A client may live for weeks, and see more repositories, blobs and hosts than it
// needs to know of at any time.
package recent

import "maps"

// Map is a map that keeps the entries used last: max of them at least, and twice as many at most.
type Map[K comparable, V any] struct {
	max        int
	young, old map[K]V
}

// New returns an empty Map.
func New[K comparable, V any](limit int) Map[K, V] {
	return Map[K, V]{max: limit, young: map[K]V{}}
}

// Get returns the value of a key, and whether it is remembered.
func (r *Map[K, V]) Get(key K) (V, bool) {
	value, ok := r.young[key]
	if !ok {
		if value, ok = r.old[key]; ok {
			r.Put(key, value)
		}
	}
	return value, ok
}

// Put remembers the value of a key.
func (r *Map[K, V]) Put(key K, value V) {
	if _, again := r.young[key]; !again && len(r.young) >= r.max {
		r.young, r.old = map[K]V{}, r.young
	}
	r.young[key] = value
}

// DeleteFunc forgets the entries for which del returns true.
func (r *Map[K, V]) DeleteFunc(del func(K, V) bool) {
	maps.DeleteFunc(r.young, del)
	maps.DeleteFunc(r.old, del)
}
