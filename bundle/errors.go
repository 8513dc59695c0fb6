package bundle

import "errors"

// Sentinels for callers; every error of this package wraps one of them or an error of the operating system.
var (
	// ErrFormat: the input is not what FORMAT.md says, and no reader should go on with it.
	ErrFormat = errors.New("not a valid airgap bundle")
	// ErrDigest: content does not have the digest or the length that was promised for it.
	ErrDigest = errors.New("content does not match its digest")
	// ErrUnsupported: well-formed, but of a kind that this version of airgap does not carry.
	ErrUnsupported = errors.New("not supported")
	// ErrLimit: larger than the limits in FORMAT.md.
	ErrLimit = errors.New("over the limit")
	// ErrNotFound: no such blob in this bundle.
	ErrNotFound = errors.New("not in the bundle")
)
