package policy

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/sigstore/sigstore-go/pkg/root"

	"airgap/bundle"
	"airgap/bundle/yaml"
	"airgap/verify/signature"
)

// Files are the files that a policy names, by the names that stand in it: relative ones begin at its directory. The caller
// bounds what it reads.
type Files interface {
	ReadFile(name string) ([]byte, error)
	ReadDir(name string) ([]string, error) // names of files in it; an error where it is no directory
}

const (
	maxFile  = 1 << 20 // bytes
	maxFiles = 1000    // that a policy names, those in directories among them
	maxKeys  = 10_000  // in a policy, however often it names them
)

// Files in a directory that count as keys, and as certificates of a trust store.
var (
	keySuffixes         = []string{".pub", ".pem"}
	certificateSuffixes = []string{".pem", ".crt", ".cer", ".der"}
)

// content is a file that was read, or what stands in the policy itself.
type content struct {
	at    yaml.Position // in the policy
	where string        // its name
	bytes []byte
}

// library reads the files of a policy, each of them once.
type library struct {
	Files

	read  map[string][]byte
	roots map[bundle.Digest]*root.TrustedRoot // by the digest of the file: parties with the same one have the same root
}

var errTooManyFiles = errors.New("the policy names too many files")

func (l *library) file(name string) ([]byte, error) {
	if content, known := l.read[name]; known {
		return content, nil
	}
	if len(l.read) >= maxFiles {
		return nil, errTooManyFiles
	}
	content, err := l.ReadFile(name)
	switch {
	case err != nil:
		return nil, err
	case len(content) > maxFile:
		return nil, errors.New("it has more than 1 MiB")
	}
	l.read[name] = content
	return content, nil
}

// digest stands for a policy and all files that were read for it.
func (l *library) digest(policy []byte) bundle.Digest {
	all := fmt.Appendf(nil, "%s\n", bundle.DigestOf(policy))
	for _, name := range slices.Sorted(maps.Keys(l.read)) {
		all = fmt.Appendf(all, "%q %s\n", name, bundle.DigestOf(l.read[name]))
	}
	return bundle.DigestOf(all)
}

// contents reads what v names: a file, all files of a directory whose names end in one of the suffixes, or what is in
// place in PEM. What cannot be read is noted.
func (p *parties) contents(v *yaml.Value, suffixes []string) []content {
	var name string
	if p.Text(&name)(v); name == "" {
		if v.Kind == yaml.Scalar && v.IsText {
			p.Bad(v.Position, "an empty name of a file")
		}
		return nil
	}
	if strings.HasPrefix(strings.TrimSpace(name), "-----BEGIN") {
		return []content{{v.Position, v.Position.String(), []byte(name)}}
	}
	names, err := p.files.ReadDir(name)
	switch {
	case err == nil:
		return p.directory(v.Position, name, names, suffixes)
	case errors.Is(err, fs.ErrPermission) || strings.HasSuffix(name, "/"):
		p.Bad(v.Position, "the directory cannot be read: %w", err)
		return nil
	}
	return p.file(v.Position, name)
}

func (p *parties) file(at yaml.Position, name string) []content {
	bytes, err := p.files.file(name)
	if err != nil {
		p.Bad(at, "%.200q cannot be read: %w", name, err)
		return nil
	}
	return []content{{at, name, bytes}}
}

func (p *parties) directory(at yaml.Position, directory string, names, suffixes []string) []content {
	var all []content
	slices.Sort(names)
	for _, name := range names {
		if slices.Contains(suffixes, path.Ext(name)) {
			all = append(all, p.file(at, strings.TrimSuffix(directory, "/")+"/"+name)...)
		}
	}
	if len(all) == 0 {
		p.Bad(at, "the directory %.200q has no file %s", directory, "*"+strings.Join(suffixes, ", *"))
	}
	return all
}

// publicKeys reads keys, of certificates as well.
func (p *parties) publicKeys(c content) []signature.PublicKey {
	keys, err := signature.ParsePublicKeys(c.bytes)
	if err != nil {
		p.Bad(c.at, "%.200q: %w", c.where, err)
		return nil
	}
	if p.keys += len(keys); p.keys > maxKeys {
		p.Bad(c.at, "more than %d keys in all", maxKeys)
		return nil
	}
	for block, rest := pem.Decode(c.bytes); block != nil; block, rest = pem.Decode(rest) {
		if certificate, err := x509.ParseCertificate(block.Bytes); err == nil {
			p.ends(c, certificate, "its key counts all the same")
		}
	}
	return keys
}

// certificates reads certificates in PEM or DER.
func (p *parties) certificates(c content) []*x509.Certificate {
	var der []byte
	isPEM := bytes.Contains(c.bytes, []byte("-----BEGIN"))
	for rest := c.bytes; isPEM; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			p.Bad(c.at, "%.200q has a %.40q block, but certificates are expected", c.where, block.Type)
			return nil
		}
		der = append(der, block.Bytes...)
	}
	if !isPEM {
		der = c.bytes
	}
	certificates, err := x509.ParseCertificates(der)
	switch {
	case err != nil:
		p.Bad(c.at, "%.200q: %w", c.where, err)
	case len(certificates) == 0 || isPEM && len(certificates) != bytes.Count(c.bytes, []byte("-----BEGIN")):
		p.Bad(c.at, "%.200q has no certificate, or a damaged one", c.where)
		return nil
	}
	if p.keys += len(certificates); p.keys > maxKeys {
		p.Bad(c.at, "more than %d keys and certificates in all", maxKeys)
		return nil
	}
	for _, certificate := range certificates {
		p.ends(c, certificate, "only what a timestamp shows to be older counts by it")
	}
	return certificates
}

// ends remarks on a certificate once its time is over.
func (p *parties) ends(c content, certificate *x509.Certificate, then string) {
	end := certificate.NotAfter
	p.remarks = append(p.remarks, remark{c.at, fmt.Sprintf("the certificate in %.200q ended on %s; %s", c.where, end.UTC().Format(time.DateOnly), then), end})
}

// trustedRoot reads a trusted_root.json.
func (p *parties) trustedRoot(v *yaml.Value) *root.TrustedRoot {
	var name string
	if p.Text(&name)(v); name == "" {
		return nil
	}
	content, err := p.files.file(name)
	if err != nil {
		p.Bad(v.Position, "%.200q cannot be read: %w", name, err)
		return nil
	}
	digest := bundle.DigestOf(content)
	if p.files.roots[digest] == nil {
		parsed, err := root.NewTrustedRootFromJSON(content)
		if err != nil {
			p.Bad(v.Position, "%.200q is not a trusted_root.json: %w", name, err)
			return nil
		}
		p.files.roots[digest] = parsed
	}
	return p.files.roots[digest]
}
