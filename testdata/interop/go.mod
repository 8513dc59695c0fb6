// Tests with the real tools, run by "make interop". A module of its own, so that "go test ./..." in
// airgap needs nothing but Go.
module airgap/testdata/interop

go 1.26.8

require airgap v0.0.0

require github.com/google/go-containerregistry v0.22.1 // indirect

replace airgap => ../..
