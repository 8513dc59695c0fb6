package option

import (
	"bytes"
	"encoding/json"

	"github.com/sigstore/sigstore-go/pkg/root"

	"airgap/bundle"
	"airgap/cmd/airgap/app"
	"airgap/verify/policy"
)

// ReadTrustedRoot reads the trusted_root.json that travels with a bundle; nil for "".
func ReadTrustedRoot(file string) ([]byte, error) {
	if file == "" {
		return nil, nil
	}
	content, err := app.ReadSmallFile(file)
	if err != nil {
		return nil, app.Usagef("--trusted-root: %w", err)
	}
	if _, err := root.NewTrustedRootFromJSON(content); err != nil {
		return nil, app.Usagef("--trusted-root: %s is no trusted_root.json: %.300s", file, err)
	}
	return content, nil
}

// CompareTrustedRoot says whether the trusted root that a bundle brings is one that the policy names. It is believed only where it is.
func CompareTrustedRoot(a *app.App, c *bundle.Contents, p *policy.Policy) {
	named := trustedRoots(p)
	if c.TrustedRoot == nil || len(named) == 0 {
		return
	}
	brought, err := root.NewTrustedRootFromJSON(c.TrustedRoot)
	if err == nil {
		for _, one := range named {
			if areSame(brought, one) {
				a.Say("the trusted root in the bundle is one that the policy names")
				return
			}
		}
	}
	a.Warn("the bundle brings another trusted root (%s) than the policy names, and that of the policy counts: airgap inspect --trusted-root FILE writes it down, to be compared",
		bundle.DigestOf(c.TrustedRoot))
}

// trustedRoots are those that a policy names.
func trustedRoots(p *policy.Policy) (roots []*root.TrustedRoot) {
	add := func(r *root.TrustedRoot) {
		if r != nil {
			roots = append(roots, r)
		}
	}
	add(p.Bundle.Party.Root)
	if p.Bundle.Approvals != nil {
		add(p.Bundle.Approvals.Party.Root)
	}
	for _, rule := range p.Images {
		for _, demand := range rule.Signatures {
			add(demand.Party.Root)
		}
		for _, demand := range rule.Attestations {
			add(demand.Party.Root)
		}
	}
	return roots
}

// areSame tells whether two trusted roots say the same, however they are written.
func areSame(a, b *root.TrustedRoot) bool {
	left, err := json.Marshal(a)
	if err != nil {
		return false
	}
	right, err := json.Marshal(b)
	return err == nil && bytes.Equal(left, right)
}
