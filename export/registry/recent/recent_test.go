package recent

import "testing"

func TestWhatIsRememberedIsBounded(t *testing.T) {
	r := New[int, int](100)
	for i := range 10_000 {
		r.Put(i, i)
		if _, ok := r.Get(0); !ok {
			t.Fatalf("what is used all the time is forgotten after %d others", i)
		}
		last := max(0, i-98) // 99, and the one that is used all the time
		_, young := r.young[last]
		if _, old := r.old[last]; !young && !old {
			t.Fatalf("of the last 100 one is forgotten after %d", i)
		}
		if n := len(r.young) + len(r.old); n > 200 {
			t.Fatalf("%d are kept", n)
		}
	}
}
