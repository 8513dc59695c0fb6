// Airgap carries container images, with everything that proves what they are, across a gap that no network crosses.
//
// This package is the command line: each command reads its flags, makes one call into a library package and renders
// the result. Run "airgap help" for what it can do.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"airgap/cmd/airgap/app"
)

func main() {
	app.LimitMemory()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// The first signal cancels, and the command cleans up; stop restores the default, so that the second one kills.
	context.AfterFunc(ctx, stop)
	os.Exit(run(ctx, os.Args[1:], app.New()))
}
