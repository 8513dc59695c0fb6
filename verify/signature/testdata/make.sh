#!/bin/sh
# Makes the fixtures in this directory with real tools: cosign 3 and openssl. Run it here, with cosign in PATH (or in
# $COSIGN), when a new version of cosign is to be followed; the files change each time, as keys are random.
set -eu
cd "$(dirname "$0")"
: "${COSIGN:=cosign}"
scratch=$(mktemp -d)
export COSIGN_PASSWORD=airgap-test
trap 'rm -rf "$scratch"' EXIT

# No transparency log, no timestamps: nothing leaves this host.
config=$scratch/signing-config.json
echo '{"mediaType":"application/vnd.dev.sigstore.signingconfig.v0.2+json","rekorTlogConfig":{},"tsaConfig":{}}' >"$config"
# cosign attest-blob alone would write a statement v0.1; cosign sign, which needs a registry, writes this one.
statement=$scratch/statement.json
printf '{"_type":"https://in-toto.io/Statement/v1","subject":[{"digest":{"sha256":"%s"},"annotations":{}}],"predicateType":"https://sigstore.dev/cosign/sign/v1","predicate":{}}' \
    "$(sha256sum artifact.json | cut -d' ' -f1)" >"$statement"

rm -f ./*.key ./*.pub ./*.sigstore.json
cosign() { HOME=$scratch "$COSIGN" "$@"; } # it keeps a cache of TUF metadata at home
cosign generate-key-pair --output-key-prefix p256
openssl genpkey -algorithm ed25519 -out ed25519.plain.key
openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:3072 -out rsa.plain.key
openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-384 -out p384.plain.key
for kind in ed25519 rsa p384; do
    cosign import-key-pair --yes --key $kind.plain.key --output-key-prefix $kind
done
for kind in p256 ed25519 rsa p384; do
    cosign attest-blob --yes --key $kind.key --signing-config "$config" --statement "$statement" \
        --bundle $kind.sigstore.json
done

# Public keys that airgap refuses.
openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:1024 | openssl pkey -pubout -out refused-rsa1024.pub
openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:secp224r1 | openssl pkey -pubout -out refused-p224.pub
openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:secp256k1 | openssl pkey -pubout -out refused-secp256k1.pub
openssl genpkey -algorithm x25519 | openssl pkey -pubout -out refused-x25519.pub

# What airgap signs with these keys; `go test -tags interop` has cosign check it.
chmod 644 ./*.key ./*.sigstore.json
(cd .. && go test -run 'TestBytes$' -update .)
