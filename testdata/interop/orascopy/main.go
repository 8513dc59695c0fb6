// Command orascopy copies images with oras-go between registries without TLS and one OCI layout, as a small program would
// that somebody writes with that library: everything that refers to an image goes with it.
//
//	orascopy out HOST DIR REPOSITORY:TAG...
//	orascopy in DIR HOST REPOSITORY:TAG...
package main

import (
	"context"
	"fmt"
	"os"
	"strings"

	"oras.land/oras-go/v2"
	"oras.land/oras-go/v2/content/oci"
	"oras.land/oras-go/v2/registry/remote"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) < 4 {
		return fmt.Errorf("usage: orascopy out HOST DIR REFERENCE... | in DIR HOST REFERENCE...")
	}
	host, dir := args[1], args[2]
	if args[0] == "in" {
		dir, host = args[1], args[2]
	}
	layout, err := oci.New(dir)
	if err != nil {
		return err
	}
	for _, reference := range args[3:] {
		path, tag, _ := strings.Cut(reference, ":")
		repository, err := remote.NewRepository(host + "/" + path)
		if err != nil {
			return err
		}
		repository.PlainHTTP = true
		if args[0] == "out" {
			_, err = oras.ExtendedCopy(context.Background(), repository, tag, layout, reference, oras.DefaultExtendedCopyOptions)
		} else {
			_, err = oras.ExtendedCopy(context.Background(), layout, reference, repository, tag, oras.DefaultExtendedCopyOptions)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", reference, err)
		}
	}
	return nil
}
