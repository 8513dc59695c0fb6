package placing

import "strings"

// flatten makes one path element of a repository name, for registries whose names have a fixed number of elements: each /
// becomes --, and each run of two or more dashes gets one dash more. So a single dash stays, a run of two stands for a /,
// and a longer one for itself with a dash less: no two names become the same one, and the name can be read back. Runs
// never meet, as path elements begin and end with a letter or a digit (bundle.CheckPath). The result is a repository name
// as well, but for its length: each / takes one byte more, and so does each run.
func flatten(path string) string {
	var b strings.Builder
	for at := 0; at < len(path); {
		dashes := len(path[at:]) - len(strings.TrimLeft(path[at:], "-"))
		switch {
		case path[at] == '/':
			b.WriteString("--")
			at++
		case dashes >= 2:
			b.WriteString(path[at:at+dashes] + "-")
			at += dashes
		default:
			b.WriteByte(path[at])
			at++
		}
	}
	return b.String()
}
