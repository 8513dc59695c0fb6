#!/bin/sh
# Signs for "airgap export --sign-with" with OpenSSL and a key in a PKCS#11 token: an HSM, a smart card, or SoftHSM.
#
#   AIRGAP_PKCS11_KEY   the key, as in pkcs11:token=airgap;object=packer;type=private (RFC 7512)
#   PKCS11_MODULE_PATH  the token's library, as in /usr/lib/softhsm/libsofthsm2.so, where p11-kit does not know it
#
# It takes OpenSSL's engine for PKCS#11 (Debian: libengine-pkcs11-openssl), which asks for the PIN on the terminal
# unless AIRGAP_PKCS11_KEY has it (;pin-source=file:FILE). Where OpenSSL has no engines any more,
# "-provider pkcs11 -provider default" takes the place of "-engine pkcs11 -keyform engine".
#
# Arguments: ALGORITHM FINGERPRINT. Standard input: the digest. Standard output: the signature.
set -eu
umask 077

algorithm=$1
key=${AIRGAP_PKCS11_KEY:?is not set: it says which key signs}

case $algorithm in
ecdsa-*) set -- ;;
rsa-pkcs1-*) set -- -pkeyopt rsa_padding_mode:pkcs1 ;;
*) echo "this script does not sign with $algorithm" >&2 && exit 1 ;;
esac

# OpenSSL wants a file, since it asks for the size of what it signs.
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cat >"$work/digest"
openssl pkeyutl -sign -engine pkcs11 -keyform engine -inkey "$key" "$@" \
	-pkeyopt "digest:${algorithm##*-}" -in "$work/digest" -out "$work/signature" >&2
cat "$work/signature"
