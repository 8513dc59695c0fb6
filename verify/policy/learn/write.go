package learn

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"airgap/verify/party"
)

// maxMatch bounds the globs of one rule; policies allow 1,000.
const maxMatch = 500

const head = `# Learnt from what was there: the strictest policy that it fulfils. It says what is, and not what should be: take away what need not
# be, before what ought to be elsewhere is refused. "airgap policy check" says what it means.
version: 1
`

// write writes the policy.
func (l *learner) write(images []image, signers []party.Signer) []byte {
	var b bytes.Buffer
	b.WriteString(head)
	l.writeSigners(&b)
	l.writeBundle(&b, signers)
	b.WriteString("\nimages:\n")
	for _, r := range l.rules(images) {
		r.write(&b)
	}
	b.WriteString("\nunmatched: refuse\n")
	return b.Bytes()
}

func (l *learner) writeSigners(b *bytes.Buffer) {
	if len(l.signers) > 0 {
		b.WriteString("\nsigners:\n")
	}
	for _, s := range l.signers {
		if s.of.Root == nil {
			fmt.Fprintf(b, "  %s: {keys: %s}\n", s.name, quoted(s.of.File))
		} else {
			fmt.Fprintf(b, "  %s: {identities: {issuer: %s, subject: %s}, trustedRoot: %s}\n", s.name, quoted(s.issuer), quoted(s.subject), quoted(s.of.File))
		}
	}
}

// writeBundle names the files with the keys that signed the bundle.
func (l *learner) writeBundle(b *bytes.Buffer, signers []party.Signer) {
	var files []string
	for _, c := range l.candidates {
		for _, key := range c.Keys {
			if slices.ContainsFunc(signers, func(s party.Signer) bool { return s.Key == key.Digest() }) && !slices.Contains(files, quoted(c.File)) {
				files = append(files, quoted(c.File))
			}
		}
	}
	if len(files) > 0 {
		fmt.Fprintf(b, "\nbundle:\n  keys: [%s]\n", strings.Join(files, ", "))
	}
}

// rule is what images have in common.
type rule struct {
	demands
	match []string
	notes []string
}

// rules groups images that meet the same demands: repositories where all of their images do, and else each image by itself.
func (l *learner) rules(images []image) []*rule {
	type met struct {
		*image
		demands
	}
	repositories := map[string][]met{}
	for i := range images {
		name := repositoryOf(images[i].source)
		repositories[name] = append(repositories[name], met{&images[i], images[i].demands(l.signers)})
	}
	var rules []*rule
	open := map[string]*rule{}
	add := func(d demands, match string, of ...met) {
		key := strings.Join(d.signatures, "\n") + "\n\n" + strings.Join(d.attestations, "\n")
		r := open[key]
		if r == nil || len(r.match) == maxMatch {
			r = &rule{demands: d}
			open[key], rules = r, append(rules, r)
		}
		// The brackets of an IPv6 address are no part of globs.
		r.match = append(r.match, quoted(strings.NewReplacer("[", "?", "]", "?").Replace(match)))
		for _, i := range of {
			r.notes = append(r.notes, i.image.notes()...)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(repositories)) {
		all := repositories[name]
		isOne := !slices.ContainsFunc(all, func(i met) bool {
			return !slices.Equal(i.signatures, all[0].signatures) || !slices.Equal(i.attestations, all[0].attestations)
		})
		if isOne {
			add(all[0].demands, name, all...)
			continue
		}
		for _, i := range all {
			add(i.demands, i.source, i)
		}
	}
	return rules
}

// notes says what of an image is not good, or by nobody.
func (i *image) notes() (lines []string) {
	for _, s := range i.subjects {
		about := s.Platform
		if about == "" {
			about = s.Digest.String()
		}
		for _, note := range s.notes {
			lines = append(lines, fmt.Sprintf("%s, %.100q: %s", i.source, about, note))
		}
	}
	return lines
}

// maxNotes bounds the comments of one rule.
const maxNotes = 50

func (r *rule) write(b *bytes.Buffer) {
	b.WriteString("\n")
	slices.Sort(r.notes)
	notes := slices.Compact(r.notes)
	for i, note := range notes {
		if i == maxNotes {
			fmt.Fprintf(b, "  # and %d more\n", len(notes)-i)
			break
		}
		fmt.Fprintf(b, "  # %s\n", note)
	}
	if len(r.signatures)+len(r.attestations) == 0 {
		b.WriteString("  # Nothing about these verifies by who was given. Without this rule they are refused.\n")
	}
	fmt.Fprintf(b, "  - match: [%s]\n", strings.Join(r.match, ", "))
	if len(r.signatures)+len(r.attestations) == 0 {
		b.WriteString("    carry: true\n")
	}
	for _, list := range []struct {
		key   string
		lines []string
	}{{"signatures", r.signatures}, {"attestations", r.attestations}} {
		if len(list.lines) > 0 {
			fmt.Fprintf(b, "    %s:\n", list.key)
		}
		for _, line := range list.lines {
			fmt.Fprintf(b, "      - %s\n", line)
		}
	}
}

// quoted writes a text in YAML, which knows the texts of JSON.
func quoted(text string) string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(text); err != nil {
		panic(err) // no text is an error
	}
	return strings.TrimSuffix(b.String(), "\n")
}
