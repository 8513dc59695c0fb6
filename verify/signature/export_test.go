package signature

// What tests use beyond the API: Seal signs what Sign never would, and Signed is what Ed25519 signs.
var Seal = seal

func Signed(m *Message) []byte { return m.signed(0) }
