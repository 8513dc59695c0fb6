package main

import (
	"math"
	"os"
	"runtime"
	"runtime/debug"
	"testing"
)

// The collector does not work harder because much is in use, and works as hard as before once that is gone.
func TestMemoryLimitFollowsWhatIsInUse(t *testing.T) {
	if _, isSet := os.LookupEnv("GOMEMLIMIT"); isSet {
		t.Skip("GOMEMLIMIT is set")
	}
	defer debug.SetMemoryLimit(debug.SetMemoryLimit(math.MaxInt64))
	stop := limitMemory()
	defer stop()
	inUse := make([][]byte, 128)
	for i := range inUse {
		inUse[i] = make([]byte, 1<<20)
	}
	runtime.GC()
	if cycles := collectionsDuring(512 << 20); cycles > 20 {
		t.Errorf("%d collections for 512 MiB of garbage beside 128 MiB that are in use", cycles)
	}
	runtime.KeepAlive(inUse)
	for range 100 {
		runtime.GC()
		if debug.SetMemoryLimit(-1) == smallLimit {
			return
		}
	}
	t.Errorf("the limit stays at %d bytes though nothing is in use", debug.SetMemoryLimit(-1))
}

func collectionsDuring(garbage int) (cycles uint32) {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for made := 0; made < garbage; made += 64 << 10 {
		garbageMade = make([]byte, 64<<10)
	}
	runtime.ReadMemStats(&after)
	return after.NumGC - before.NumGC
}

var garbageMade []byte

func TestMemoryLimit(t *testing.T) {
	for live, want := range map[uint64]int64{0: 40 << 20, 10 << 20: 40 << 20, 20 << 20: 40 << 20, 32 << 20: 44 << 20, 200 << 20: 254 << 20} {
		if got := memoryLimit(live); got != want {
			t.Errorf("%d in use: %d, want %d", live, got, want)
		}
	}
}
