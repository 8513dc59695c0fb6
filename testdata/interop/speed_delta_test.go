package interop

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// BenchmarkSecondBundle is the third part of "make bench": the bundles of a mirror after the first. It carries the corpus of
// BenchmarkAgainstPeers in full, then with every tenth image rebuilt, then with nothing new, and prints what each takes beside
// the changed blobs alone; and the 5,100 small images in full and with nothing new, beside a HEAD of each tag.
func BenchmarkSecondBundle(b *testing.B) {
	b.Run("large", func(b *testing.B) {
		r := newRace(b)
		r.corpus = makeCorpus(b, r.source.host)
		r.configure(b, fmt.Sprintf("- {type: registry, source: %s, target: mirror.example.com, repos: {allow: ['acme/.*']}}\n", r.source.host))
		var sizes []string
		for round := range r.rounds {
			sizes = r.weeks(b, round, true)
		}
		b.ReportMetric(0, "ns/op")
		fmt.Print(r.table(fmt.Sprintf("The second bundle, %d images; %s", len(r.corpus.images), strings.Join(sizes, ", ")), r.corpus.bytes))
	})
	b.Run("small", func(b *testing.B) {
		r := newRace(b)
		corpus := makeSmallCorpus(b)
		if err := pushSmall(r.source.host, corpus); err != nil {
			b.Fatal(err)
		}
		r.configure(b, fmt.Sprintf("- {type: registry, source: %s, target: mirror.example.com}\n", r.source.host))
		var sizes []string
		for round := range r.rounds {
			r.measure(b, "export", contender{name: "curl --parallel --head", isFloor: true}, r.dir, r.source, func(m *measured) { r.curlSmall(m, corpus, "head") })
			sizes = r.weeks(b, round, false)
		}
		b.ReportMetric(0, "ns/op")
		fmt.Print(r.table(fmt.Sprintf("The second bundle, %d small images; %s", len(corpus), strings.Join(sizes, ", ")), smallBytes(corpus)))
	})
}

func (r *race) configure(b *testing.B, entries string) {
	if err := os.WriteFile(filepath.Join(r.dir, "regsync.yaml"), []byte("version: 1\nsync:\n"+entries), 0o600); err != nil {
		b.Fatal(err)
	}
}

// weeks carries the first bundle of a mirror, one after changes where there are to be some, and one without. It returns what
// the files take.
func (r *race) weeks(b *testing.B, round int, changes bool) (sizes []string) {
	dir := filepath.Join(r.dir, "work")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		b.Fatal(err)
	}
	defer os.RemoveAll(dir)
	storage := filepath.Join(r.dir, "target")
	defer os.RemoveAll(storage)
	target, stop := r.startTarget(b, storage)
	defer stop()
	carry := func(name string) {
		file := dir + "/" + strings.ReplaceAll(name, " ", "-") + ".tar"
		r.measure(b, "export", contender{name: name}, dir, r.source, func(m *measured) {
			m.run("airgap", "export", "-q", "-c", "regsync.yaml", "--cache-dir", dir+"/cache", "--mirror", "bench", "--ledger", dir+"/ledger", "--key", "airgap.key", "-o", file)
		})
		r.measure(b, "import", contender{name: name}, dir, target, func(m *measured) {
			m.run("airgap", "import", "-q", file, target.host+"/mirror", "--key", "airgap.pub")
		})
		info, err := os.Stat(file)
		if err != nil {
			b.Fatal(err)
		}
		sizes = append(sizes, fmt.Sprintf("%s %.1f MB", name, float64(info.Size())/1e6))
		if r.corpus != nil && round == 0 {
			if lost := r.corpus.lost(b, target.host, "mirror/"); lost != "nothing" {
				b.Errorf("%s: lost %s", name, lost)
			}
		}
	}
	carry("full")
	if changes {
		fresh := r.corpus.rebuild(b, 10)
		var total int64
		for _, blob := range fresh {
			total += blob.size
		}
		floor := contender{name: "the changed blobs alone", isFloor: true}
		r.measure(b, "export", floor, dir, r.source, func(m *measured) { r.curlBlobs(m, dir, fresh) })
		bare, stopBare := r.startTarget(b, filepath.Join(r.dir, "bare"))
		r.measure(b, "import", floor, dir, bare, func(m *measured) { pushBlobs(m, dir, bare.host, fresh) })
		stopBare()
		_ = os.RemoveAll(filepath.Join(r.dir, "bare"))
		carry("delta")
		sizes = append(sizes, fmt.Sprintf("%s %.1f MB", floor.name, float64(total)/1e6))
	}
	carry("nothing new")
	return sizes
}
