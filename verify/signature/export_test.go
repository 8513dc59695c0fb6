package signature

// What tests use beyond the API: Seal signs what Sign never would.
var (
	Seal            = seal
	PreAuthEncoding = preAuthEncoding
)
