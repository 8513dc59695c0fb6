package bundle

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"hash/maphash"
	"io"
	"iter"
	"maps"
	"slices"

	"airgap/bundle/strictjson"
)

// What the file holds besides the signed object, its signature and the blobs is derived from these, by the writer
// and again by every reader (FORMAT.md, "Derived entries"). Manifest and Descriptor give the order of the fields.

// compact returns v as JSON without white space, HTML escapes or a newline at the end.
func compact(v any) []byte {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(v); err != nil {
		panic(err) // the structs here cannot fail to encode
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

// tableNames are the titles of the manifest index's layers, in order, with their media types and how large they may be.
var tableNames = []tableName{
	tableRoots:       {"roots.jsonl", MediaTypeRoots, MaxTableSize},
	tableManifests:   {"manifests.jsonl", MediaTypeManifests, MaxTableSize},
	tableBlobs:       {"blobs.jsonl", MediaTypeBlobs, MaxTableSize},
	tableMissing:     {"missing.jsonl", MediaTypeMissing, MaxTableSize},               // only where something is missing
	tableTrustedRoot: {"trusted_root.json", MediaTypeTrustedRoot, MaxTrustedRootSize}, // only where there is one, and no table but a file
}

type tableName struct {
	title, mediaType string
	limit            int64 // bytes
}

// Places in tableNames.
const (
	tableRoots = iota
	tableManifests
	tableBlobs
	tableMissing
	tableTrustedRoot

	necessaryTables = tableMissing // how many are always there
)

// table is a layer of the manifest index.
type table struct {
	sized

	name int // place in tableNames
}

// sized is content that is known by digest and size.
type sized struct {
	digest Digest
	size   int64
}

// manifestIndex returns the signed object for the given header and tables.
func manifestIndex(header sized, tables []table) []byte {
	m := Manifest{
		SchemaVersion: 2,
		MediaType:     MediaTypeOCIManifest,
		ArtifactType:  ArtifactTypeBundle,
		Config:        &Descriptor{MediaType: MediaTypeHeader, Digest: header.digest, Size: header.size},
	}
	for _, t := range tables {
		m.Layers = append(m.Layers, Descriptor{
			MediaType: tableNames[t.name].mediaType, Digest: t.digest, Size: t.size,
			Annotations: map[string]string{annotationTitle: tableNames[t.name].title},
		})
	}
	return compact(m)
}

// parseManifestIndex reads what manifestIndex writes, and nothing else.
func parseManifestIndex(b []byte) (header sized, tables []table, err error) {
	bad := func(err error) (sized, []table, error) {
		return sized{}, nil, fmt.Errorf("%w: manifest index: %w", ErrFormat, err)
	}
	var m Manifest
	if err := strictjson.Unmarshal(b, &m); err != nil {
		return bad(err)
	}
	if m.Config == nil || len(m.Layers) < necessaryTables || len(m.Layers) > len(tableNames) {
		return bad(fmt.Errorf("a header and %d to %d tables expected", necessaryTables, len(tableNames)))
	}
	header = sized{m.Config.Digest, m.Config.Size}
	if header.size < 1 || header.size > MaxHeaderSize {
		return bad(fmt.Errorf("%w: a header of %d bytes", ErrLimit, header.size))
	}
	for i, l := range m.Layers {
		name := i // of those that are always there
		if i >= necessaryTables {
			name = slices.IndexFunc(tableNames, func(n tableName) bool { return n.mediaType == l.MediaType })
		}
		if name < i || i > 0 && name <= tables[i-1].name {
			return bad(fmt.Errorf("a layer of type %.80q in place %d", l.MediaType, i+1))
		}
		if l.Size < 1 || l.Size > tableNames[name].limit {
			return bad(fmt.Errorf("%w: a %s table of %d bytes", ErrLimit, tableNames[name].title, l.Size))
		}
		tables = append(tables, table{sized{l.Digest, l.Size}, name})
	}
	if !bytes.Equal(b, manifestIndex(header, tables)) {
		return bad(fmt.Errorf("not of the form that airgap writes"))
	}
	return header, tables, nil
}

// sigstoreManifest returns the OCI artifact that carries a Sigstore bundle over the manifest index, whose statement has the predicate type. It
// is what cosign 3 pushes for a signature or an attestation, so that cosign finds it once both are in a registry.
func sigstoreManifest(index, sigstore sized, predicateType, created string) []byte {
	return compact(Manifest{
		SchemaVersion: 2,
		MediaType:     MediaTypeOCIManifest,
		ArtifactType:  MediaTypeSigstore,
		Config:        &Descriptor{MediaType: MediaTypeEmptyJSON, Digest: EmptyJSON, Size: 2},
		Layers:        []Descriptor{{MediaType: MediaTypeSigstore, Digest: sigstore.digest, Size: sigstore.size}},
		Subject:       &Descriptor{MediaType: MediaTypeOCIManifest, Digest: index.digest, Size: index.size},
		Annotations: map[string]string{
			annotationContent:   "dsse-envelope",
			annotationPredicate: predicateType,
			annotationCreated:   created,
		},
	})
}

// fallbackIndex is the referrers of one subject as the index that a fallback tag points at. Only its digest and
// size are kept; the content is made again when it is written.
// https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#referrers-tag-schema
type fallbackIndex struct {
	subject   Digest
	referrers []int32 // rows of the manifests table, by digest
	sized
}

// fallbackIndexes returns one index for each subject that has referrers, sorted by subject.
func (c *Contents) fallbackIndexes() []fallbackIndex {
	var referrers []int32
	for i := range c.manifests {
		if vias[c.manifests[i].via].IsReferrer() {
			referrers = append(referrers, int32(i))
		}
	}
	subject := func(row int32) Digest { return c.subject(&c.manifests[row]) }
	compare := func(a, b int32) int {
		of, other := subject(a), subject(b)
		return cmp.Or(bytes.Compare(of[:], other[:]),
			bytes.Compare(c.Blobs[c.manifests[a].blob].Digest[:], c.Blobs[c.manifests[b].blob].Digest[:]))
	}
	slices.SortStableFunc(referrers, compare)
	// Several roots may share a referrer.
	referrers = slices.CompactFunc(referrers, func(a, b int32) bool { return compare(a, b) == 0 })

	var indexes []fallbackIndex
	for len(referrers) > 0 {
		f := fallbackIndex{subject: subject(referrers[0])}
		end := slices.IndexFunc(referrers, func(row int32) bool { return subject(row) != f.subject })
		if end < 0 {
			end = len(referrers)
		}
		f.referrers, referrers = referrers[:end], referrers[end:]
		content := f.content(c)
		f.sized = sized{DigestOf(content), int64(len(content))}
		indexes = append(indexes, f)
	}
	return indexes
}

func (f *fallbackIndex) content(c *Contents) []byte {
	index := Manifest{SchemaVersion: 2, MediaType: MediaTypeOCIIndex}
	for _, row := range f.referrers {
		index.Manifests = append(index.Manifests, c.manifestRow(int(row)).descriptor())
	}
	return compact(index)
}

func (r ManifestRow) descriptor() Descriptor {
	return Descriptor{MediaType: r.MediaType, Digest: r.Digest, Size: r.Size, ArtifactType: r.ArtifactType}
}

// writeIndexJSON writes index.json: what other tools find by name. The order, each name once, the first with a
// name wins: the manifest index and its signature; the roots, under their full source reference; fallback tags;
// cosign's tags; then, without a name, every referrer (oras-go finds referrers only among what index.json lists).
// repeated is what repeatedNames returns.
func writeIndexJSON(w io.Writer, c *Contents, index, signature Descriptor, fallbacks []fallbackIndex, repeated map[string]bool) error {
	list := indexWriter{w: w, repeated: maps.Clone(repeated)}
	list.raw(`{"schemaVersion":2,"mediaType":"` + MediaTypeOCIIndex + `","manifests":[`)
	list.add(index)
	list.add(signature)
	for _, r := range c.Roots() {
		d := Descriptor{MediaType: r.MediaType, Digest: r.Digest, Size: r.Size, ArtifactType: r.ArtifactType}
		list.named(r.RefName(), d, annotationImageName)
	}
	for _, f := range fallbacks {
		list.named(f.subject.FallbackTag(), Descriptor{MediaType: MediaTypeOCIIndex, Digest: f.digest, Size: f.size})
	}
	for _, r := range c.ManifestRows() {
		if r.Via == ViaCosignTag {
			list.named(r.Tag, r.descriptor())
		}
	}
	for _, f := range fallbacks {
		for _, r := range f.referrers {
			list.add(c.manifestRow(int(r)).descriptor())
		}
	}
	list.raw(`]}`)
	return list.err
}

// repeatedNames returns the names that occur more than once in index.json, all with false, and perhaps some others: those
// whose hashes are not their own. Of a million names a set of all would take far more memory than the bundle's tables.
func (c *Contents) repeatedNames() map[string]bool {
	seed := maphash.MakeSeed()
	var hashes []uint64
	for name := range c.names() {
		hashes = append(hashes, maphash.String(seed, name))
	}
	slices.Sort(hashes)
	shared := map[uint64]bool{}
	for i := 1; i < len(hashes); i++ {
		if hashes[i-1] == hashes[i] {
			shared[hashes[i]] = true
		}
	}
	repeated := map[string]bool{}
	if len(shared) > 0 {
		for name := range c.names() {
			if shared[maphash.String(seed, name)] {
				repeated[name] = false
			}
		}
	}
	return repeated
}

// names yields the names in index.json that may occur more than once: those of roots and cosign tags.
func (c *Contents) names() iter.Seq[string] {
	return func(yield func(string) bool) {
		for _, r := range c.Roots() {
			if !yield(r.RefName()) {
				return
			}
		}
		for i := range c.manifests {
			if vias[c.manifests[i].via] == ViaCosignTag && !yield(c.manifestRow(i).Tag) {
				return
			}
		}
	}
}

type indexWriter struct {
	w io.Writer
	// repeated are the names that several want, and whether one of them has it.
	repeated map[string]bool
	comma    bool
	err      error
}

func (l *indexWriter) raw(s string) {
	if l.err == nil {
		_, l.err = io.WriteString(l.w, s)
	}
}

func (l *indexWriter) add(d Descriptor) {
	if l.comma {
		l.raw(",")
	}
	l.comma = true
	l.raw(string(compact(d)))
}

// named lists d under name, which goes into the ref.name annotation and into the others given.
func (l *indexWriter) named(name string, d Descriptor, others ...string) {
	if taken, isRepeated := l.repeated[name]; taken {
		return
	} else if isRepeated {
		l.repeated[name] = true
	}
	d.Annotations = map[string]string{annotationRefName: name}
	for _, other := range others {
		d.Annotations[other] = name
	}
	l.add(d)
}
