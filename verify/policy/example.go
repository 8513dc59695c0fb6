package policy

import (
	"embed"
	"io/fs"
	"strings"
)

//go:embed examples/*.yaml
var examples embed.FS

// Examples are the names of the policies to begin with.
func Examples() []string {
	files, err := fs.Glob(examples, "examples/*.yaml")
	if err != nil {
		panic(err) // the pattern is a constant
	}
	for i, file := range files {
		files[i] = strings.TrimSuffix(strings.TrimPrefix(file, "examples/"), ".yaml")
	}
	return files
}

// Example returns a policy to begin with, with comments; nil where there is none of the name.
func Example(name string) []byte {
	content, err := examples.ReadFile("examples/" + name + ".yaml")
	if err != nil {
		return nil
	}
	return content
}
