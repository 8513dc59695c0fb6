package main

import (
	"os"
	"runtime/debug"
)

// softLimit keeps the process below 64 MiB of resident memory, of which some 14 MiB are the program itself. The
// collector works harder near the limit; what truly needs more, such as the tables of a very large catalogue, still
// gets it.
const softLimit = 40 << 20 // bytes

// limitMemory makes the collector return what is not needed. GOMEMLIMIT in the environment wins.
func limitMemory() {
	if _, isSet := os.LookupEnv("GOMEMLIMIT"); !isSet {
		debug.SetMemoryLimit(softLimit)
	}
}
