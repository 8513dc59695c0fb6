package signature

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"strings"

	"github.com/secure-systems-lab/go-securesystemslib/encrypted"
)

// KeyKind names a type of key to generate, as a person would on the command line.
type KeyKind string

// Kinds of keys that Generate makes. ECDSA P-256 is what cosign makes and what every verifier knows.
const (
	ECDSAP256 KeyKind = "ecdsa-p256"
	Ed25519   KeyKind = "ed25519"
	RSA3072   KeyKind = "rsa-3072"
	RSA4096   KeyKind = "rsa-4096"
)

// KeyKinds returns all kinds, the default first.
func KeyKinds() []KeyKind { return []KeyKind{ECDSAP256, Ed25519, RSA3072, RSA4096} }

// PEM types of keys that cosign encrypted, now and before version 2.
const (
	pemEncrypted    = "ENCRYPTED SIGSTORE PRIVATE KEY"
	pemEncryptedOld = "ENCRYPTED COSIGN PRIVATE KEY"
	pemPKCS8        = "PRIVATE KEY"
)

// PrivateKey is a key to sign with. However it is printed, only its fingerprint shows.
type PrivateKey struct {
	signer crypto.Signer
	public PublicKey
}

// Generate makes a new key. A kind that is not one of KeyKinds is an error that wraps ErrKey.
func Generate(kind KeyKind) (*PrivateKey, error) {
	var signer crypto.Signer
	var err error
	switch kind {
	case ECDSAP256:
		signer, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case Ed25519:
		_, signer, err = ed25519.GenerateKey(rand.Reader)
	case RSA3072:
		signer, err = rsa.GenerateKey(rand.Reader, 3072)
	case RSA4096:
		signer, err = rsa.GenerateKey(rand.Reader, 4096)
	default:
		return nil, fmt.Errorf("%w: there is no kind of key %.40q; there are %v", ErrKey, string(kind), KeyKinds())
	}
	if err != nil {
		return nil, fmt.Errorf("generate a key of kind %s: %w", kind, err)
	}
	return newPrivateKey(signer)
}

func newPrivateKey(key any) (*PrivateKey, error) {
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("%w: a key for something other than signatures", ErrKey)
	}
	public, err := NewPublicKey(signer.Public())
	if err != nil {
		return nil, err
	}
	return &PrivateKey{signer: signer, public: public}, nil
}

// HeldElsewhere returns a key whose private part is somewhere else: in an HSM, a smart card, or a service. sign gets what public's algorithm
// signs, the digest of the message or, for Ed25519, the message itself, and returns the signature over it, which is checked with public.
func HeldElsewhere(public PublicKey, sign func(signed []byte) ([]byte, error)) *PrivateKey {
	return &PrivateKey{signer: elsewhere{public.key, sign}, public: public}
}

// elsewhere is a crypto.Signer for what is decided by the type of the key alone.
type elsewhere struct {
	public crypto.PublicKey
	sign   func(signed []byte) ([]byte, error)
}

func (e elsewhere) Public() crypto.PublicKey { return e.public }

func (e elsewhere) Sign(_ io.Reader, signed []byte, _ crypto.SignerOpts) ([]byte, error) {
	return e.sign(signed)
}

// Public returns the key to check k's signatures with.
func (k *PrivateKey) Public() PublicKey { return k.public }

// Format implements fmt.Formatter for every verb, so that no log line can hold the key.
func (k PrivateKey) Format(s fmt.State, _ rune) {
	_, _ = io.WriteString(s, "private key of "+k.public.Fingerprint())
}

// sign signs message. Without a source of randomness ECDSA is deterministic (RFC 6979); Ed25519 and RSA with PKCS#1
// v1.5 are so by themselves.
func (k *PrivateKey) sign(message *Message) ([]byte, error) {
	raw, err := k.signer.Sign(nil, message.signed(k.public.hash), k.public.hash)
	if err != nil {
		return nil, err
	}
	if !k.public.Verifies(message, raw) {
		return nil, fmt.Errorf("%w: the %d bytes that were made are not; is it the key that belongs to the public one, and the algorithm %s?", ErrNotSigned, len(raw), k.public.Algorithm())
	}
	return raw, nil
}

// MarshalEncrypted returns the key as a file that cosign reads too: PKCS#8 under scrypt and NaCl's secretbox, in PEM.
// An empty password is used as such. Deriving the key takes a tenth of a second and 32 MiB.
//
// cosign 3 writes twice the work factor. This one is read by every version of cosign, and keeps an export, which
// begins with opening the key, below the 64 MB that airgap promises; a password longer by one bit makes up for it.
func (k *PrivateKey) MarshalEncrypted(password []byte) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(k.signer)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrKey, err)
	}
	box, err := encrypted.EncryptWithCustomKDFParameters(der, password, encrypted.Legacy)
	if err != nil {
		return nil, fmt.Errorf("encrypt the key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: pemEncrypted, Bytes: box}), nil
}

// ParsePrivateKey reads a key file: one that cosign or MarshalEncrypted encrypted, or plain PKCS#8 in PEM. password is
// called only for an encrypted key, once, and may be nil if there can be none; its error is returned wrapped. A wrong
// or missing password is an error that wraps ErrPassword, anything else about the file one that wraps ErrKey. Keys that
// cosign 3 encrypted take 64 MiB of memory to open.
func ParsePrivateKey(file []byte, password func() ([]byte, error)) (*PrivateKey, error) {
	blocks, err := pemBlocks(file)
	if err != nil {
		return nil, err
	}
	if len(blocks) != 1 {
		return nil, fmt.Errorf("%w: %d PEM blocks in the file; there must be one%s", ErrKey, len(blocks), convertHint)
	}
	der, err := privateDER(blocks[0], password)
	if err != nil {
		return nil, err
	}
	key, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrKey, err)
	}
	return newPrivateKey(key)
}

// convertHint ends errors about files that hold a key in a form that is not read here.
const convertHint = "; convert it with `openssl pkcs8 -topk8 -nocrypt -in OLD -out NEW`, or bring it into cosign's form with " +
	"`cosign import-key-pair --key OLD`"

// privateDER returns the PKCS#8 in a block, decrypted where needed.
func privateDER(block *pem.Block, password func() ([]byte, error)) ([]byte, error) {
	switch {
	case block.Type == pemPKCS8:
		return block.Bytes, nil
	case block.Type == pemEncrypted || block.Type == pemEncryptedOld:
		return decrypt(block.Bytes, password)
	case isPrivate(block):
		return nil, fmt.Errorf("%w: %.80q is not a form of key that airgap reads%s", ErrKey, block.Type, convertHint)
	case block.Type == "PUBLIC KEY":
		return nil, fmt.Errorf("%w: this is a public key; give the private one (the .key file) to sign", ErrKey)
	}
	return nil, fmt.Errorf("%w: a %.80q block where a private key was expected", ErrKey, block.Type)
}

func isPrivate(block *pem.Block) bool { return strings.HasSuffix(block.Type, "PRIVATE KEY") }

func decrypt(box []byte, password func() ([]byte, error)) ([]byte, error) {
	if password == nil {
		return nil, fmt.Errorf("%w: the key is encrypted", ErrPassword)
	}
	secret, err := password()
	if err != nil {
		return nil, fmt.Errorf("password of the key: %w", err)
	}
	der, err := encrypted.Decrypt(box, secret)
	if err != nil {
		// A damaged box cannot be told from a wrong password, as far as it is well-formed.
		return nil, fmt.Errorf("%w: or the key file is damaged (%w)", ErrPassword, err)
	}
	return der, nil
}
