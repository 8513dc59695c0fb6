// Package verdict shows people what a policy says of images.
package verdict

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"airgap/bundle"
	"airgap/cmd/airgap/terminal"
	"airgap/verify/judge"
)

// Show says what a policy says of the images, each with what proves something about it.
func Show(say func(format string, args ...any), j *judge.Judgement) {
	if j == nil {
		return
	}
	for i := range j.Images {
		for _, line := range imageLines(&j.Images[i]) {
			say("%s", line)
		}
	}
	counts := map[judge.Verdict]int{}
	for i := range j.Images {
		counts[j.Images[i].Verdict]++
	}
	line := fmt.Sprintf("policy: %s", terminal.Count(counts[judge.Passes], "image")+" as it asks")
	if n := counts[judge.Carried]; n > 0 {
		line += fmt.Sprintf(", %d carried without being judged", n)
	}
	if n := counts[judge.Fails]; n > 0 {
		line += fmt.Sprintf(", %d that fail", n)
	}
	say("%s", line)
}

// imageLines is the verdict on an image, and then a line or two for each of its manifests. Why one fails is in the judgement's error.
func imageLines(image *judge.Image) []string {
	lines := []string{image.Source + ": " + Words(image)}
	width := 0
	for i := range image.Manifests {
		width = max(width, len(manifestName(image, i)))
	}
	for i := range image.Manifests {
		first := fmt.Sprintf("  %-*s  ", width, manifestName(image, i))
		for _, facts := range proofWords(image.Manifests[i].Proofs) {
			lines = append(lines, first+facts)
			first = strings.Repeat(" ", len(first))
		}
	}
	return lines
}

// Words are the verdict on an image with the rule that decided.
func Words(image *judge.Image) string {
	verdict := string(image.Verdict)
	if image.Verdict == judge.Fails {
		verdict = "FAILS"
	}
	if image.Rule == "" {
		return verdict + " (no rule matches)"
	}
	return fmt.Sprintf("%s (rule %s, %s)", verdict, image.Rule, image.Position)
}

func manifestName(image *judge.Image, i int) string {
	switch m := &image.Manifests[i]; {
	case m.Platform != "":
		return m.Platform
	case m.Digest != image.Digest:
		return shortDigests(m.Digest.String())
	case len(image.Manifests) > 1:
		return "index"
	}
	return "image"
}

// proofWords are what proves something about a manifest: signatures by signer, attestations by predicate type and signer.
func proofWords(proofs []judge.Proof) []string {
	if len(proofs) == 0 {
		return []string{"nothing"}
	}
	var signatures, attestations, unreadable []string
	for i := range proofs {
		switch p := &proofs[i]; p.Kind {
		case "signature":
			signatures = append(signatures, byWords(p))
		case "attestation":
			attestations = append(attestations, p.PredicateType+" "+byWords(p))
		default:
			unreadable = append(unreadable, byWords(p))
		}
	}
	var lines []string
	for _, kind := range []struct {
		name  string
		words []string
	}{{"signed", signatures}, {"attested", attestations}, {"unreadable", unreadable}} {
		if len(kind.words) > 0 {
			slices.Sort(kind.words)
			lines = append(lines, kind.name+" "+strings.Join(counted(kind.words), ", "))
		}
	}
	return lines
}

// byWords says whose a proof is, and what is wrong with it.
func byWords(p *judge.Proof) string {
	by := "by " + shortDigests(strings.Join(p.Signers, " and "))
	switch {
	case p.State == judge.Good:
		return by
	case len(p.Signers) > 0:
		return by + " (" + string(p.State) + ")"
	}
	return "(" + string(p.State) + ")"
}

// counted makes one of what is there several times.
func counted(sorted []string) (words []string) {
	for len(sorted) > 0 {
		n := 1
		for n < len(sorted) && sorted[n] == sorted[0] {
			n++
		}
		word := sorted[0]
		if n > 1 {
			word = fmt.Sprintf("%s (%d times)", word, n)
		}
		words, sorted = append(words, word), sorted[n:]
	}
	return words
}

var wholeDigest = regexp.MustCompile(`(sha256:[0-9a-f]{12})[0-9a-f]{52}`)

// shortDigests leaves of each digest as much as people compare.
func shortDigests(text string) string { return wholeDigest.ReplaceAllString(text, "$1") }

// ByCarrier says what the policy says of the proofs that manifests carry, for the lines of these manifests.
func ByCarrier(image *judge.Image) map[bundle.Digest]string {
	words := map[bundle.Digest]string{}
	if image == nil {
		return words
	}
	for i := range image.Manifests {
		for j := range image.Manifests[i].Proofs {
			p := &image.Manifests[i].Proofs[j]
			if more := "  " + p.Kind + " " + byWords(p); !strings.Contains(words[p.Carrier], more) {
				words[p.Carrier] += more
			}
		}
	}
	return words
}
