package policy

import (
	"airgap/verify/party"
	"airgap/verify/signature"
)

// OfKeys is what keys on a command line stand for: a bundle that any one of them signed is taken, and no image is judged.
func OfKeys(keys []signature.PublicKey) *Policy {
	p := &Policy{Bundle: Bundle{Threshold: 1}}
	for _, key := range keys {
		p.Bundle.Party.Keys = append(p.Bundle.Party.Keys, party.Key{PublicKey: key})
	}
	return p
}
