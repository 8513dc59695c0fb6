package ledger_test

import (
	"bytes"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"airgap/bundle"
	"airgap/bundle/ledger"
)

func TestLines(t *testing.T) {
	identity := bundle.DigestOf([]byte("a bundle"))
	line := ledger.LineOf("dhi", 12, identity)
	said := line.String()
	word := said[strings.LastIndex(said, " ")+1:]
	if want := "dhi@12 sha256:" + identity.Hex()[:12] + " "; !strings.HasPrefix(said, want) || word == "" {
		t.Fatalf("the line is %q, want %q and a word", said, want)
	}
	for _, typed := range []string{said, "  " + strings.ToUpper(said) + "\n", strings.Replace(said, " "+word, "... "+word, 1), strings.TrimSuffix(said, " "+word)} {
		got, err := ledger.ParseLine(typed)
		if err != nil || got != line {
			t.Errorf("%q: %+v, %v", typed, got, err)
		}
	}
	if got, err := ledger.ParseLine("dhi@12"); err != nil || got != (ledger.Line{Mirror: "dhi", Sequence: 12}) || !got.Names(identity) {
		t.Errorf("%+v, %v", got, err)
	}
	if line.Names(bundle.DigestOf([]byte("another"))) || !line.Names(identity) {
		t.Error("the identity is not told from another")
	}
	for typed, why := range map[string]string{
		"dhi": "expected", "dhi@": "expected", "dhi@0": "number", "dhi@-1": "expected", "dhi@99999999999999999999": "number", "DHI_@1": "not the name of a mirror",
		"dhi@12 sha256:12": "expected", "dhi@12 " + word: "expected", "dhi@12 sha256:" + identity.Hex()[:12] + " nonsense": "misheard",
		strings.Replace(said, "@12", "@13", 1): "misheard",
	} {
		if _, err := ledger.ParseLine(typed); !errors.Is(err, ledger.ErrLine) || !strings.Contains(err.Error(), why) {
			t.Errorf("%q: %v, want %q", typed, err, why)
		}
	}
}

// The words are those of FORMAT.md, so that a stranger's reader has the same.
func TestWordsAreThoseOfTheFormat(t *testing.T) {
	format, err := os.ReadFile("../FORMAT.md")
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for i := range 5000 { // 256 of 5000 hashes: all of them
		said := ledger.LineOf("dhi", uint64(i)+1, bundle.DigestOf([]byte{byte(i), byte(i >> 8)})).String()
		seen[said[strings.LastIndex(said, " ")+1:]] = true
	}
	_, list, _ := strings.Cut(string(format), "The words, counted from 0:\n\n")
	words := strings.Fields(list)[:256]
	if len(seen) != 256 || !slices.IsSorted(words) {
		t.Fatalf("%d words, sorted: %t", len(seen), slices.IsSorted(words))
	}
	for _, word := range words {
		if !seen[word] {
			t.Errorf("%s is in FORMAT.md, and not used", word)
		}
	}
}

func TestReceiptsAreReadAsWritten(t *testing.T) {
	a := bundle.DigestOf([]byte("a"))
	var file bytes.Buffer
	receipt := ledger.NewReceipt("harbor.example.com/dhi", time.Unix(0, 0), &ledger.Received{Mirror: "dhi", Sequence: 12, Identity: a, Images: 3, There: 3}, nil)
	if err := receipt.Write(&file); err != nil {
		t.Fatal(err)
	}
	if got, err := ledger.ReadReceipt(bytes.NewReader(file.Bytes())); err != nil || *got.Complete != *receipt.Complete || got.Line != ledger.LineOf("dhi", 12, a).String() {
		t.Errorf("%+v, %v", got, err)
	}
	for name, spoilt := range map[string]string{
		"another format": strings.Replace(file.String(), "receipt/1", "receipt/2", 1),
		"another line":   strings.Replace(file.String(), "dhi@12", "dhi@13", 1),
		"another number": strings.Replace(file.String(), `"sequence":12`, `"sequence":13`, 1),
		"megabytes":      file.String() + strings.Repeat(" ", 1<<20),
	} {
		if _, err := ledger.ReadReceipt(strings.NewReader(spoilt)); !errors.Is(err, ledger.ErrReceipt) {
			t.Errorf("receipt with %s: %v", name, err)
		}
	}
}
