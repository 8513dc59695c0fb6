package interop

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
)

// BenchmarkAgainstPeers is "make bench": airgap and what a user would run otherwise carry one corpus from one distribution
// registry to another on this machine, and so do the floors: programs that only move the same bytes. It prints a Markdown
// table. Every measurement is the best of AIRGAP_BENCH_ROUNDS (3), with what was written before synced to the disk.
// AIRGAP_BENCH_ONLY is a regular expression for the names of contenders. It takes some 12 GB below AIRGAP_BENCH_DIR (the
// system's folder for temporary files), and some ten minutes.
func BenchmarkAgainstPeers(b *testing.B) {
	r := newRace(b)
	r.corpus = makeCorpus(b, r.source.host)
	r.lost = func(target string) string { return r.corpus.lost(b, target, "") }
	r.run(b, r.contenders(b))
	c := r.corpus
	fmt.Print(r.table(fmt.Sprintf("%d repositories, %d tags, %d referrers, %d distinct blobs of %.2f GB",
		len(c.repositories()), len(c.images), len(c.referrers), len(c.blobs), float64(c.bytes)/1e9), c.bytes))
}

// race is one comparison.
type race struct {
	*bench
	source watched
	corpus *corpus                    // of BenchmarkAgainstPeers
	lost   func(target string) string // says what of the corpus is not at a target
	dir    string
	rounds int

	results []result
}

// result is the best measurement of one contender in one discipline.
type result struct {
	discipline, contender string
	seconds               float64
	rss, disk             int64 // peaks, in bytes
	requests              int   // to the registry
	lost                  string
	isFloor               bool
}

// newRace starts a registry to carry from.
func newRace(b *testing.B) *race {
	r := &race{bench: newBench(b), rounds: 3}
	if text := os.Getenv("AIRGAP_BENCH_ROUNDS"); text != "" {
		var err error
		if r.rounds, err = strconv.Atoi(text); err != nil || r.rounds < 1 {
			b.Fatalf("AIRGAP_BENCH_ROUNDS is %q", text)
		}
	}
	var err error
	if r.dir, err = os.MkdirTemp(os.Getenv("AIRGAP_BENCH_DIR"), "airgap-bench-"); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = os.RemoveAll(r.dir) })
	r.bench.dir = r.dir
	var ended <-chan struct{}
	r.source, ended = startWatched(b.Context(), b, filepath.Join(r.dir, "source"))
	b.Cleanup(func() { <-ended })
	r.plainHTTP(b, r.source.host)
	r.bench.run(b, "airgap", "keygen")
	return r
}

func (r *race) run(b *testing.B, contenders []contender) {
	only, err := regexp.Compile(os.Getenv("AIRGAP_BENCH_ONLY"))
	if err != nil {
		b.Fatal(err)
	}
	contenders = slices.DeleteFunc(contenders, func(c contender) bool { return !only.MatchString(c.name) })
	for round := range r.rounds {
		_ = os.Remove(r.dir + "/bundle.tar") // airgap's of the last round
		for _, c := range contenders {
			r.round(b, c, round)
		}
	}
	b.ReportMetric(0, "ns/op") // which says nothing here
}

// contender is a way to carry the corpus. Each step is given a place of its own.
type contender struct {
	name      string
	isFloor   bool
	plan      func(m *measured)                     // find out what there is at the source; nil for none
	planAgain func(m *measured)                     // once more, with whatever was kept
	export    func(m *measured, dir string)         // from the source into dir
	verify    func(m *measured, dir string)         // of what is in dir; nil for none
	pack      func(m *measured, dir string)         // counted with export: to one file; nil for none
	unpack    func(m *measured, dir string)         // counted with import; nil for none
	load      func(m *measured, dir, target string) // from dir into a registry
	again     bool                                  // load, and plan, once more, which changes nothing
	lossy     bool                                  // do not look for what is lost: it has no names to look for
}

func (r *race) round(b *testing.B, c contender, round int) {
	b.Helper()
	dir := filepath.Join(r.dir, "work")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		b.Fatal(err)
	}
	defer os.RemoveAll(dir)
	if c.plan != nil {
		r.measure(b, "plan", c, dir, r.source, c.plan)
		if c.again || c.isFloor {
			r.measure(b, "plan again", c, dir, r.source, c.planAgain)
		}
	}
	if c.export != nil {
		m := &measured{TB: b, race: r}
		m.run("sh", "-c", `find "$0" -type f -print0 | xargs -0 cat >/dev/null`, r.dir+"/source") // nobody waits for the source's disk
		r.measure(b, "export", c, dir, r.source, func(m *measured) {
			c.export(m, dir)
			if c.pack != nil {
				c.pack(m, dir)
			}
		})
	}
	if c.verify != nil {
		r.measure(b, "verify", c, dir, watched{}, func(m *measured) { c.verify(m, dir) })
	}
	if c.load == nil {
		return
	}
	storage := filepath.Join(r.dir, "target")
	defer os.RemoveAll(storage)
	target, stop := r.startTarget(b, storage)
	defer stop()
	taken := r.measure(b, "import", c, dir, target, func(m *measured) {
		if c.unpack != nil {
			c.unpack(m, dir)
		}
		c.load(m, dir, target.host)
	})
	if c.again {
		r.measure(b, "import again", c, dir, target, func(m *measured) { c.load(m, dir, target.host) })
	}
	if c.isFloor || round > 0 {
		return
	}
	taken.lost = r.lost(target.host)
	if c.lossy {
		taken.lost = "all names; " + taken.lost
	}
}

// startTarget starts a registry to carry to.
func (r *race) startTarget(b *testing.B, storage string) (target watched, stop func()) {
	ctx, cancel := context.WithCancel(b.Context())
	target, ended := startWatched(ctx, b, storage)
	r.plainHTTP(b, target.host)
	return target, func() { cancel(); <-ended }
}

// measure keeps the best of all rounds. asked is the registry that is asked; the zero value is none.
func (r *race) measure(b *testing.B, discipline string, c contender, dir string, asked watched, work func(*measured)) *result {
	b.Helper()
	syscall.Sync()
	m := &measured{TB: b, race: r}
	stop, before := m.watchDisk(dir), asked.requests(b)
	began := time.Now()
	work(m)
	seconds := time.Since(began).Seconds()
	disk, requests := stop(), asked.requests(b)-before
	at := slices.IndexFunc(r.results, func(k result) bool { return k.discipline == discipline && k.contender == c.name })
	if at < 0 {
		r.results = append(r.results, result{discipline: discipline, contender: c.name, seconds: seconds, isFloor: c.isFloor})
		at = len(r.results) - 1
	}
	best := &r.results[at]
	best.seconds, best.rss, best.disk, best.requests = min(best.seconds, seconds), max(best.rss, m.rss), max(best.disk, disk), requests
	b.Logf("%s, %s: %.2f s, %d requests", discipline, c.name, seconds, requests)
	return best
}

// measured runs programs and watches them.
type measured struct {
	testing.TB
	race *race
	rss  int64
}

// run runs a program that has to succeed, and notes its peak resident size. What the system says of a child that has ended
// counts the size of this process at its start, so that the child is looked at while it runs.
func (m *measured) run(tool string, args ...string) {
	m.Helper()
	ctx, cancel := context.WithTimeout(m.Context(), 10*time.Minute)
	defer cancel()
	command := exec.CommandContext(ctx, findTool(m, tool), args...)
	command.Dir, command.Env = m.race.dir, m.race.env
	var output strings.Builder
	command.Stdout, command.Stderr = &output, &output
	if err := command.Start(); err != nil {
		m.Fatal(err)
	}
	watched := make(chan int64)
	go func() { watched <- peakRSS(command.Process.Pid) }()
	err := command.Wait()
	m.rss = max(m.rss, <-watched)
	if err != nil {
		m.Fatalf("%s %s: %v\n%.2000s", tool, strings.Join(args, " "), err, output.String())
	}
}

func peakRSS(pid int) (peak int64) {
	for {
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		_, rest, found := strings.Cut(string(status), "VmHWM:")
		if err != nil || !found { // it has ended
			return peak
		}
		text, _, _ := strings.Cut(strings.TrimSpace(rest), " ")
		if kib, err := strconv.ParseInt(text, 10, 64); err == nil {
			peak = max(peak, kib<<10)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// watchDisk notes the most that a folder ever took.
func (*measured) watchDisk(dir string) (stop func() (peak int64)) {
	end, ended := make(chan struct{}), make(chan int64)
	go func() {
		var peak int64
		for {
			peak = max(peak, diskUse(dir))
			select {
			case <-end:
				ended <- max(peak, diskUse(dir))
				return
			case <-time.After(200 * time.Millisecond):
			}
		}
	}()
	return func() int64 { close(end); return <-ended }
}

// diskUse is what a folder takes, in bytes.
func diskUse(dir string) (total int64) {
	_ = filepath.WalkDir(dir, func(_ string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() { // or gone meanwhile
			return nil
		}
		if info, err := entry.Info(); err == nil {
			total += info.Sys().(*syscall.Stat_t).Blocks * 512
		}
		return nil
	})
	return total
}

// contenders are airgap, its peers and the floors.
func (r *race) contenders(b testing.TB) []contender {
	c := r.corpus
	oras := filepath.Join(r.dir, "orascopy")
	build := exec.CommandContext(b.Context(), "go", "build", "-o", oras, "./orascopy")
	if out, err := build.CombinedOutput(); err != nil {
		b.Fatalf("%v\n%s", err, out)
	}
	each := func(work func(reference, repository, tag string)) {
		for _, image := range c.images {
			work(image.repository+":"+image.tag, image.repository, image.tag)
		}
	}
	var sources []string
	for _, reference := range c.references() {
		sources = append(sources, c.host+"/"+reference)
	}
	config := "version: 1\nsync:\n"
	for _, repository := range c.repositories() {
		config += fmt.Sprintf("- {type: repository, source: %s/%s, target: %s, referrers: true, digestTags: true, tags: {allow: ['v.*']}}\n", c.host, repository, repository)
	}
	if err := os.WriteFile(filepath.Join(r.dir, "regsync.yaml"), []byte(config), 0o600); err != nil {
		b.Fatal(err)
	}
	tar := func(m *measured, dir string) { m.run("tar", "cf", dir+"/bundle.tar", "-C", dir, "layout") }
	untar := func(m *measured, dir string) {
		if err := os.RemoveAll(dir + "/layout"); err != nil {
			m.Fatal(err)
		}
		m.run("tar", "xf", dir+"/bundle.tar", "-C", dir)
	}
	regctlOut := func(m *measured, dir string) {
		each(func(reference, repository, tag string) {
			m.run("regctl", "image", "copy", "--referrers", "--digest-tags", c.host+"/"+reference, "ocidir://"+dir+"/layout/"+repository+":"+tag)
		})
	}
	regctlIn := func(m *measured, dir, target string) {
		each(func(reference, repository, tag string) {
			m.run("regctl", "image", "copy", "--referrers", "--digest-tags", "ocidir://"+dir+"/layout/"+repository+":"+tag, target+"/"+reference)
		})
	}
	craneOut := func(m *measured, dir string) {
		m.run("crane", append(append([]string{"pull", "--format", "oci"}, sources...), dir+"/layout")...)
	}
	craneIn := func(m *measured, dir, target string) {
		m.run("crane", "push", "--index", dir+"/layout", target+"/acme/all:latest")
	}
	return []contender{
		{name: "curl --parallel, and a bare push", isFloor: true, export: r.curl, load: r.barePush},
		{
			name: "airgap",
			export: func(m *measured, dir string) {
				m.run("airgap", "export", "-q", "-c", "regsync.yaml", "--cache-dir", "none", "--key", "airgap.key", "-o", dir+"/bundle.tar")
			},
			verify: func(m *measured, dir string) {
				m.run("airgap", "verify", "-q", dir+"/bundle.tar", "--key", "airgap.pub")
				_ = os.Link(dir+"/bundle.tar", r.dir+"/bundle.tar") // for openssl
			},
			load: func(m *measured, dir, target string) {
				m.run("airgap", "import", "-q", dir+"/bundle.tar", target, "--key", "airgap.pub")
			},
			again: true,
		},
		{
			name: "openssl dgst -sha256", isFloor: true,
			verify: func(m *measured, _ string) { m.run("openssl", "dgst", "-sha256", r.dir+"/bundle.tar") },
		},
		{name: "dd conv=fsync", isFloor: true, export: r.dd},
		{name: "regctl image copy", export: regctlOut, load: regctlIn},
		{name: "regctl image copy, tar", export: regctlOut, pack: tar, unpack: untar, load: regctlIn},
		{name: "crane pull --format oci, crane push", export: craneOut, load: craneIn, lossy: true},
		{name: "crane pull, tar", export: craneOut, pack: tar, unpack: untar, load: craneIn, lossy: true},
		{
			name: "skopeo copy --all",
			export: func(m *measured, dir string) {
				each(func(reference, _, _ string) {
					m.run("skopeo", "copy", "--all", "--quiet", "--src-tls-verify=false", "docker://"+c.host+"/"+reference, "oci:"+dir+"/layout:"+reference)
				})
			},
			load: func(m *measured, dir, target string) {
				each(func(reference, _, _ string) {
					m.run("skopeo", "copy", "--all", "--quiet", "--dest-tls-verify=false", "oci:"+dir+"/layout:"+reference, "docker://"+target+"/"+reference)
				})
			},
		},
		{
			name: "oras-go ExtendedCopy",
			export: func(m *measured, dir string) {
				m.run(oras, append([]string{"out", c.host, dir + "/layout"}, c.references()...)...)
			},
			load: func(m *measured, dir, target string) {
				m.run(oras, append([]string{"in", dir + "/layout", target}, c.references()...)...)
			},
		},
	}
}

// curl fetches every distinct blob into a file of its own, and checks nothing.
func (r *race) curl(m *measured, dir string) { r.curlBlobs(m, dir, r.corpus.blobs) }

func (r *race) curlBlobs(m *measured, dir string, blobs map[string]corpusBlob) {
	var config strings.Builder
	for digest, blob := range blobs {
		fmt.Fprintf(&config, "url = \"http://%s/v2/%s/blobs/%s\"\noutput = %q\n", r.corpus.host, blob.repositories[0], digest, filepath.Join(dir, digest))
	}
	file := filepath.Join(r.dir, "curl.txt")
	if err := os.WriteFile(file, []byte(config.String()), 0o600); err != nil {
		m.Fatal(err)
	}
	m.run("curl", "--parallel", "--fail", "--silent", "--show-error", "--location", "--config", file)
}

// dd writes as many bytes as the bundle has to the same disk, and waits until they are there.
func (r *race) dd(m *measured, dir string) {
	m.run("dd", "if=/dev/zero", "of="+dir+"/file", "bs=1M", "conv=fsync", fmt.Sprintf("count=%d", r.corpus.bytes>>20))
}

// barePush uploads every distinct blob once, the largest first, and mounts it where else it is needed. Nothing is checked, and
// there are no manifests.
func (r *race) barePush(m *measured, dir, target string) { pushBlobs(m, dir, target, r.corpus.blobs) }

func pushBlobs(m *measured, dir, target string, blobs map[string]corpusBlob) {
	digests := slices.SortedFunc(maps.Keys(blobs), func(a, b string) int { return int(blobs[b].size - blobs[a].size) })
	var group errgroup.Group
	group.SetLimit(4)
	for _, digest := range digests {
		group.Go(func() error {
			file, err := os.Open(filepath.Join(dir, digest))
			if err != nil {
				return err
			}
			blob := blobs[digest]
			err = errors.Join(pushBlob(target, blob.repositories[0], digest, blob.size, file), file.Close())
			for _, repository := range blob.repositories[1:] {
				err = errors.Join(err, mountBlob(target, repository, blob.repositories[0], digest))
			}
			return err
		})
	}
	if err := group.Wait(); err != nil {
		m.Fatal(err)
	}
}

// table shows all results in Markdown, by discipline and time. total is what the disk is compared with, in bytes.
func (r *race) table(corpus string, total int64) string {
	var out strings.Builder
	fmt.Fprintf(&out, "\n%s; %d processors; best of %d\n", corpus, runtime.NumCPU(), r.rounds)
	for _, discipline := range []string{"plan", "plan again", "export", "verify", "import", "import again"} {
		results := slices.DeleteFunc(slices.Clone(r.results), func(k result) bool { return k.discipline != discipline })
		if len(results) == 0 {
			continue
		}
		slices.SortFunc(results, func(a, b result) int { return cmp.Compare(a.seconds, b.seconds) })
		floor := math.NaN()
		for _, k := range results {
			if k.isFloor && !strings.HasPrefix(k.contender, "dd") {
				floor = k.seconds
			}
		}
		fmt.Fprintf(&out, "\n| %s | s | of the floor | requests | peak memory, MiB | disk, of the content | lost |\n|---|---|---|---|---|---|---|\n", discipline)
		for _, k := range results {
			name, lost := k.contender, k.lost
			if k.isFloor {
				name += " (floor)"
			}
			fmt.Fprintf(&out, "| %s | %.2f | %.2f | %d | %.0f | %.2f | %s |\n",
				name, k.seconds, k.seconds/floor, k.requests, float64(k.rss)/(1<<20), float64(k.disk)/float64(total), lost)
		}
	}
	return out.String()
}

// watched is a distribution registry that counts what it is asked.
type watched struct{ host, metrics string }

// startWatched starts one that keeps its data in a folder, and runs until ctx is done.
func startWatched(ctx context.Context, b *testing.B, storage string) (w watched, ended <-chan struct{}) {
	b.Helper()
	debug := freeAddress(b)
	b.Setenv("REGISTRY_HTTP_DEBUG_ADDR", debug)
	b.Setenv("REGISTRY_HTTP_DEBUG_PROMETHEUS_ENABLED", "true")
	w.metrics = "http://" + debug + "/metrics"
	w.host, ended = startDistributionIn(ctx, b, storage, "")
	return w, ended
}

// aRequest is the counter of one kind of request and answer.
var aRequest = regexp.MustCompile(`(?m)^registry_http_requests_total\{.*\} ([0-9.e+]+)$`)

// requests returns how many there were until now.
func (w watched) requests(b *testing.B) (total int) {
	b.Helper()
	if w.metrics == "" {
		return 0
	}
	response, err := http.Get(w.metrics)
	if err != nil {
		b.Fatal(err)
	}
	defer response.Body.Close()
	page, err := io.ReadAll(response.Body)
	if err != nil {
		b.Fatal(err)
	}
	counters := aRequest.FindAllSubmatch(page, -1)
	for _, counter := range counters {
		n, err := strconv.ParseFloat(string(counter[1]), 64)
		if err != nil {
			b.Fatal(err)
		}
		total += int(n)
	}
	return total
}
