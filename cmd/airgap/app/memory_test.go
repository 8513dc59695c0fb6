package app

import (
	"math"
	"os"
	"runtime"
	"runtime/debug"
	"testing"
)

// The collector does not work harder because much is in use, and works as hard as before once that is gone.
func TestMemoryLimitFollowsWhatIsInUse(t *testing.T) {
	t.Setenv("GOMEMLIMIT", "") // so that it is as before at the end
	if err := os.Unsetenv("GOMEMLIMIT"); err != nil {
		t.Fatal(err)
	}
	defer debug.SetMemoryLimit(debug.SetMemoryLimit(math.MaxInt64))
	stop := LimitMemory()
	defer stop()
	inUse := make([][]byte, 128)
	for i := range inUse {
		inUse[i] = make([]byte, 1<<20)
	}
	if !limitBecomes(func(limit int64) bool { return limit >= memoryLimit(128<<20) }) {
		t.Errorf("the limit is %d bytes where 128 MiB are in use: the collector runs all the time", debug.SetMemoryLimit(-1))
	}
	runtime.KeepAlive(inUse)
	if !limitBecomes(func(limit int64) bool { return limit == smallLimit }) {
		t.Errorf("the limit stays at %d bytes though nothing is in use", debug.SetMemoryLimit(-1))
	}
}

// limitBecomes tells whether the limit is as expected after some collection: it is set a moment after each.
func limitBecomes(as func(limit int64) bool) bool {
	for range 100 {
		runtime.GC()
		if as(debug.SetMemoryLimit(-1)) {
			return true
		}
	}
	return false
}

func TestMemoryLimit(t *testing.T) {
	for live, want := range map[uint64]int64{0: 40 << 20, 10 << 20: 40 << 20, 20 << 20: 40 << 20, 32 << 20: 44 << 20, 200 << 20: 254 << 20} {
		if got := memoryLimit(live); got != want {
			t.Errorf("%d in use: %d, want %d", live, got, want)
		}
	}
}
