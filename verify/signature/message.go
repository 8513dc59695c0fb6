package signature

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"fmt"
	"sync"
)

// Message is what a signature is over. Each digest of it is made once, however many keys are tried, and when it is asked for; it may be
// used from several goroutines.
type Message struct {
	parts                  [][]byte
	sha256, sha384, sha512 func() []byte
}

// NewMessage returns the message whose parts follow one another. They are kept and must not be changed.
func NewMessage(parts ...[]byte) *Message {
	m := &Message{parts: parts}
	m.sha256, m.sha384, m.sha512 = m.sum(crypto.SHA256), m.sum(crypto.SHA384), m.sum(crypto.SHA512)
	return m
}

// NewEnvelopeMessage returns what a signature in a DSSE envelope is over: both parts with their lengths, so that neither can pass for the other.
// https://github.com/secure-systems-lab/dsse/blob/v1.0.2/protocol.md#signature-definition
func NewEnvelopeMessage(payloadType string, payload []byte) *Message {
	return NewMessage(fmt.Appendf(nil, "DSSEv1 %d %s %d ", len(payloadType), payloadType, len(payload)), payload)
}

func (m *Message) sum(hash crypto.Hash) func() []byte {
	return sync.OnceValue(func() []byte {
		h := hash.New()
		for _, part := range m.parts {
			h.Write(part)
		}
		return h.Sum(nil)
	})
}

// signed returns what a key with the given hash signs: the digest, or the message itself for 0.
func (m *Message) signed(hash crypto.Hash) []byte {
	switch hash {
	case crypto.SHA256:
		return m.sha256()
	case crypto.SHA384:
		return m.sha384()
	case crypto.SHA512:
		return m.sha512()
	}
	return bytes.Join(m.parts, nil)
}

// Verifies tells whether raw is k's signature over m, by the one algorithm of k's type.
func (k PublicKey) Verifies(m *Message, raw []byte) bool {
	switch key := k.key.(type) {
	case *ecdsa.PublicKey:
		return ecdsa.VerifyASN1(key, m.signed(k.hash), raw)
	case *rsa.PublicKey:
		return rsa.VerifyPKCS1v15(key, k.hash, m.signed(k.hash), raw) == nil
	case ed25519.PublicKey:
		return ed25519.Verify(key, m.signed(0), raw)
	}
	return false // the zero PublicKey
}
