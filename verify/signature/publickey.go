package signature

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"

	"airgap/bundle"
)

// PublicKey is a key to check signatures with. The zero value verifies nothing.
type PublicKey struct {
	key         crypto.PublicKey
	spki        []byte
	fingerprint bundle.Digest
	hash        crypto.Hash // the one that goes with the type of the key; 0 for Ed25519
}

// NewPublicKey takes a key of crypto/ecdsa, ed25519 or rsa. Those that have no algorithm in the package comment are ErrKey.
func NewPublicKey(key crypto.PublicKey) (PublicKey, error) {
	hash, err := hashFor(key)
	if err != nil {
		return PublicKey{}, err
	}
	// Encoded anew, so that one key has one fingerprint however a file spells it.
	spki, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return PublicKey{}, fmt.Errorf("%w: %w", ErrKey, err)
	}
	return PublicKey{key: key, spki: spki, fingerprint: bundle.DigestOf(spki), hash: hash}, nil
}

// Sizes of RSA keys, in bits. What is larger takes long to check, and is in nobody's use.
const (
	minRSA = 2048
	maxRSA = 8192
)

func hashFor(key crypto.PublicKey) (crypto.Hash, error) {
	switch key := key.(type) {
	case *ecdsa.PublicKey:
		switch key.Curve {
		case elliptic.P256():
			return crypto.SHA256, nil
		case elliptic.P384():
			return crypto.SHA384, nil
		case elliptic.P521():
			return crypto.SHA512, nil
		}
		return 0, fmt.Errorf("%w: ECDSA on the curve %s; use P-256, P-384 or P-521", ErrKey, key.Params().Name)
	case ed25519.PublicKey:
		return 0, nil
	case *rsa.PublicKey:
		if bits := key.N.BitLen(); bits < minRSA || bits > maxRSA {
			return 0, fmt.Errorf("%w: RSA of %d bits; from %d to %d are taken", ErrKey, bits, minRSA, maxRSA)
		}
		return crypto.SHA256, nil
	}
	return 0, fmt.Errorf("%w: a key for something other than ECDSA, Ed25519 or RSA signatures", ErrKey)
}

// Fingerprint returns "sha256:" and, in hexadecimal, the SHA-256 digest of the key's SubjectPublicKeyInfo in DER (RFC
// 5280, section 4.1): what `openssl pkey -pubin -in airgap.pub -outform DER | sha256sum` prints.
func (k PublicKey) Fingerprint() string { return k.fingerprint.String() }

// Algorithm names the one that goes with the type of the key, as in ecdsa-p256-sha256; "" for the zero PublicKey.
func (k PublicKey) Algorithm() string {
	switch key := k.key.(type) {
	case *ecdsa.PublicKey:
		return fmt.Sprintf("ecdsa-p%d-sha%d", key.Params().BitSize, k.hash.Size()*8)
	case *rsa.PublicKey:
		return fmt.Sprintf("rsa-pkcs1-sha%d", k.hash.Size()*8)
	case ed25519.PublicKey:
		return "ed25519"
	}
	return ""
}

// Digest returns the digest that Fingerprint writes out; zero for the zero PublicKey.
func (k PublicKey) Digest() bundle.Digest { return k.fingerprint }

// Crypto returns the key as crypto/ecdsa, ed25519 or rsa have it.
func (k PublicKey) Crypto() crypto.PublicKey { return k.key }

// Hash returns the hash that goes with the type of the key; 0 for Ed25519.
func (k PublicKey) Hash() crypto.Hash { return k.hash }

// MarshalPEM returns the key as a "PUBLIC KEY" block (RFC 7468, section 13), as cosign writes it.
func (k PublicKey) MarshalPEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: k.spki})
}

// ParsePublicKeys reads a file of one or more "PUBLIC KEY" and "CERTIFICATE" blocks; a certificate stands for its key and
// nothing else. Text around them is ignored, a key that is there twice is returned once. A file over MaxKeyFileSize, without a key, or with anything damaged or of another kind in it
// is refused whole: a key that is passed over in silence is missed at the worst time. Errors wrap ErrKey.
func ParsePublicKeys(file []byte) ([]PublicKey, error) {
	blocks, err := pemBlocks(file)
	if err != nil {
		return nil, err
	}
	var keys []PublicKey
	seen := map[bundle.Digest]bool{}
	for _, block := range blocks {
		key, err := parsePublicKey(block)
		if err != nil {
			return nil, err
		}
		if !seen[key.fingerprint] {
			seen[key.fingerprint] = true
			keys = append(keys, key)
		}
	}
	return keys, nil
}

func parsePublicKey(block *pem.Block) (PublicKey, error) {
	switch {
	case block.Type == "PUBLIC KEY":
	case block.Type == "CERTIFICATE":
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return PublicKey{}, fmt.Errorf("%w: a CERTIFICATE block: %w", ErrKey, err)
		}
		return NewPublicKey(certificate.PublicKey)
	case isPrivate(block):
		return PublicKey{}, fmt.Errorf("%w: this is a private key; give the public one (the .pub file) where signatures are checked", ErrKey)
	default:
		return PublicKey{}, fmt.Errorf(`%w: a %.80q block where "PUBLIC KEY" was expected`, ErrKey, block.Type)
	}
	key, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return PublicKey{}, fmt.Errorf("%w: %w", ErrKey, err)
	}
	return NewPublicKey(key)
}

// pemBlocks returns all PEM blocks in a file, of which there must be at least one. pem.Decode alone passes over
// damaged ones.
func pemBlocks(file []byte) ([]*pem.Block, error) {
	if len(file) > MaxKeyFileSize {
		return nil, fmt.Errorf("%w: a file of %d bytes; files of keys have at most %d", ErrKey, len(file), MaxKeyFileSize)
	}
	begun := bytes.Count(file, []byte("-----BEGIN "))
	var blocks []*pem.Block
	for {
		var block *pem.Block
		if block, file = pem.Decode(file); block == nil {
			break
		}
		blocks = append(blocks, block)
	}
	switch {
	case begun == 0:
		return nil, fmt.Errorf("%w: no PEM block in the file", ErrKey)
	case begun != len(blocks):
		return nil, fmt.Errorf("%w: a damaged PEM block in the file", ErrKey)
	}
	return blocks, nil
}
