package interop

import (
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"testing"

	"airgap/bundle/bundletest"
)

// A chain of ten bundles over a source that changes, into distribution: in order, and with each one missing in turn. After every step
// the target is compared with a direct copy of the source at that time.
func TestChainIntoDistribution(t *testing.T) {
	c := newChain(t)
	for version, start := range map[string]func(testing.TB) string{"3": startDistribution, "2.8": startDistribution2} {
		t.Run(version, func(t *testing.T) {
			host := start(t)
			t.Run("in order", func(t *testing.T) {
				target := &bundletest.Target{URL: "http://" + host, Prefix: "ordered"}
				for n, week := range c.weeks {
					for range 2 {
						c.imports(t, 0, c.file(n+1), host+"/ordered")
					}
					week.Compare(t, target)
				}
				for n := range len(c.weeks) - 1 {
					c.imports(t, exitReplay, c.file(n+1), host+"/ordered")
				}
				c.weeks[len(c.weeks)-1].Compare(t, target)
			})
			if version != "3" {
				return // the rest is not the registry's business
			}
			for lost := 1; lost < len(c.weeks); lost++ {
				t.Run(fmt.Sprintf("without the %d.", lost), func(t *testing.T) { c.without(t, host, lost) })
			}
		})
	}
}

// Exit codes: see "airgap help exit-codes".
const (
	exitReplay   = 13
	exitStranded = 14
)

// chain is bundles of a source that changes from week to week.
type chain struct {
	*bench
	weeks []*bundletest.Snapshot
}

func newChain(t *testing.T) *chain {
	t.Helper()
	c := &chain{bench: newBench(t)}
	c.run(t, "airgap", "keygen")
	series := bundletest.NewSeries(bundletest.StartRegistry(t, true))
	for n := range bundletest.Weeks {
		week := series.Advance(t)
		c.run(t, "airgap", append([]string{"export", "--mirror", "weekly", "--ledger", "ledger", "--key", "airgap.key", "-o", c.file(n + 1)}, week.References()...)...)
		c.weeks = append(c.weeks, week)
	}
	return c
}

func (c *chain) file(week int) string { return fmt.Sprintf("week-%d.tar", week) }

// imports runs an import that ends with an exit code.
func (c *chain) imports(t *testing.T, want int, file, target string, more ...string) {
	t.Helper()
	if got, err := c.tryImport(t, file, target, more...); got != want {
		t.Fatalf("exit code %d, want %d: %v", got, want, err)
	}
}

func (c *chain) tryImport(t *testing.T, file, target string, more ...string) (code int, err error) {
	t.Helper()
	_, err = c.try(t, "airgap", append([]string{"import", file, target, "--key", "airgap.pub"}, more...)...)
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.ExitCode(), err
	}
	if err != nil {
		t.Fatal(err)
	}
	return 0, nil
}

// without has the weeks before one, and then the others, with a supplement where the next one leaves out what the lost one brought. Each has
// a path of its own, and what others brought to the registry is nothing that it may count on.
func (c *chain) without(t *testing.T, host string, lost int) {
	prefix := fmt.Sprintf("without-%d", lost)
	target := &bundletest.Target{URL: "http://" + host, Prefix: prefix}
	for n := 1; n < lost; n++ {
		c.imports(t, 0, c.file(n), host+"/"+prefix)
	}
	want, supplement := filepath.Join(t.TempDir(), "want.json"), filepath.Join(t.TempDir(), "supplement.tar")
	code, err := c.tryImport(t, c.file(lost+1), host+"/"+prefix, "--want", want)
	switch code {
	case 0:
	case exitStranded:
		c.run(t, "airgap", "export", "--want", want, "--ledger", "ledger", "--key", "airgap.key", "-o", supplement)
		c.imports(t, 0, supplement, host+"/"+prefix)
		c.imports(t, 0, c.file(lost+1), host+"/"+prefix)
	default:
		t.Fatal(err)
	}
	c.weeks[lost].Compare(t, target)
	c.imports(t, exitReplay, c.file(lost), host+"/"+prefix)
	if lost+2 <= len(c.weeks) {
		c.imports(t, 0, c.file(lost+2), host+"/"+prefix)
		c.weeks[lost+1].Compare(t, target)
	}
}
