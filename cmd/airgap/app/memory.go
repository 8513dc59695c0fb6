package app

import (
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sync/atomic"
)

const (
	// smallLimit keeps the process below 80 MiB of resident memory, of which some 25 MiB are the program itself (10 of these since
	// it has the libraries of Sigstore and Notation): where little is in use, the collector alone would wait until twice as much is.
	smallLimit = 40 << 20 // bytes
	// Where the tables of a very large catalogue are in use, the collector gets this much room beside them, and a quarter of
	// what they take: with less it would run all the time, and without a limit it would let them double.
	room = 4 << 20 // bytes
)

// memoryLimit returns the limit for a number of bytes that are in use.
func memoryLimit(live uint64) int64 {
	return max(smallLimit, int64(live+live/4)+room)
}

// LimitMemory makes the collector return what is not needed, until stop is called. GOMEMLIMIT in the environment wins.
func LimitMemory() (stop func()) {
	var stopped atomic.Bool
	if _, isSet := os.LookupEnv("GOMEMLIMIT"); !isSet {
		debug.SetMemoryLimit(smallLimit)
		afterCollection(&stopped)
	}
	return func() { stopped.Store(true) }
}

// afterCollection sets the limit again after each collection: what nothing refers to is cleaned up by the next one.
func afterCollection(stopped *atomic.Bool) {
	runtime.AddCleanup(new([64]byte), func(stopped *atomic.Bool) {
		if stopped.Load() {
			return
		}
		live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
		metrics.Read(live)
		if limit := memoryLimit(live[0].Value.Uint64()); limit != debug.SetMemoryLimit(-1) {
			debug.SetMemoryLimit(limit)
		}
		afterCollection(stopped)
	}, stopped)
}
