package bundle_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"airgap/bundle"
	"airgap/bundle/bundletest"
)

// TestFormatAsWritten makes a bundle from its tables, signature and blobs, by what FORMAT.md says and with nothing of
// the package, and compares every byte. A change of the format shows here, and must show in FORMAT.md.
func TestFormatAsWritten(t *testing.T) {
	t.Run("nothing required", func(t *testing.T) { writeAsWritten(t, newWorld().stream(t)) })
	t.Run("a delta", func(t *testing.T) { writeAsWritten(t, newDeltaWorld().stream(t)) })
	t.Run("every feature", func(t *testing.T) {
		w := newFeatureWorld()
		writeAsWritten(t, w.stream(t), "missing.jsonl")
		w.options.TrustedRoot = []byte(" {} \n")
		writeAsWritten(t, w.stream(t), "missing.jsonl", "trusted_root.json")
		w.missing = nil
		writeAsWritten(t, w.stream(t), "trusted_root.json")
	})
}

// writeAsWritten takes the titles of what comes after the tables that are always there.
func writeAsWritten(t *testing.T, good []byte, more ...string) {
	t.Helper()
	entries, _ := bundletest.Entries(good)
	tables := append([]string{"roots.jsonl", "manifests.jsonl", "blobs.jsonl"}, more...)
	sigstoreBundle := 6 + len(tables) // its place
	blobs := map[string][]byte{}
	for _, e := range entries {
		blobs[strings.TrimPrefix(e.Name, "blobs/sha256/")] = e.Raw[512 : 512+e.Size]
	}
	content := func(place int) []byte { return entries[place-1].Raw[512 : 512+entries[place-1].Size] } // places as in FORMAT.md
	s := stranger{t: t, seen: map[string]bool{}}
	s.read(content(3), &s.header)
	created, err := time.Parse(time.RFC3339, s.header.Created)
	if err != nil {
		t.Fatal(err)
	}
	s.mtime = created.Unix()
	s.roots, s.manifests, s.blobs = rows[row](t, content(4)), rows[row](t, content(5)), rows[row](t, content(6))

	s.checkRoles(blobs)

	s.add("oci-layout", `{"imageLayoutVersion":"1.0.0"}`)
	index := `{"schemaVersion":2,"mediaType":"` + ociManifest + `","artifactType":"application/vnd.airgap.bundle.v1","config":` +
		descriptor("application/vnd.airgap.header.v1+json", content(3), "") + `,"layers":[`
	var layers []string
	for i, name := range tables {
		layers = append(layers, descriptor("application/vnd.airgap."+strings.NewReplacer(".", ".v1+", "_", "-").Replace(name), content(4+i), title(name)))
	}
	index += strings.Join(layers, ",") + `]}`
	s.blob(index)
	for place := 3; place <= 3+len(tables); place++ {
		s.blob(string(content(place)))
	}
	artifact := `{"schemaVersion":2,"mediaType":"` + ociManifest + `","artifactType":"` + sigstore + `","config":` +
		descriptor("application/vnd.oci.empty.v1+json", []byte("{}"), "") + `,"layers":[` + descriptor(sigstore, content(sigstoreBundle), "") +
		`],"subject":` + descriptor(ociManifest, []byte(index), "") +
		`,"annotations":{"dev.sigstore.bundle.content":"dsse-envelope","dev.sigstore.bundle.predicateType":"https://sigstore.dev/cosign/sign/v1","org.opencontainers.image.created":"` +
		s.header.Created + `"}}`
	s.blob(artifact)
	s.blob("{}")
	s.blob(string(content(sigstoreBundle)))
	s.derive(index, artifact)
	for _, b := range s.blobs {
		if b.Stored == "full" {
			s.blob(string(blobs[strings.TrimPrefix(b.Digest, "sha256:")]))
		}
	}
	s.out.Write(make([]byte, 1024))
	if !bytes.Equal(s.out.Bytes(), good) {
		at := 0
		for at < len(good) && at < s.out.Len() && s.out.Bytes()[at] == good[at] {
			at++
		}
		t.Fatalf("FORMAT.md and the writer differ from byte %d on:\n%.300q\n%.300q", at, s.out.Bytes()[at:], good[at:])
	}
}

const (
	ociManifest = "application/vnd.oci.image.manifest.v1+json"
	ociIndex    = "application/vnd.oci.image.index.v1+json"
	sigstore    = "application/vnd.dev.sigstore.bundle.v0.3+json"
)

// row has the columns of all tables.
type row struct {
	Source, MediaType, Digest, ArtifactType, Via, Subject, Tag, Role, Stored string
	Size                                                                     int64
}

func (r row) descriptor(annotations string) string {
	d := fmt.Sprintf(`{"mediaType":%q,"digest":%q,"size":%d`, r.MediaType, r.Digest, r.Size)
	if r.ArtifactType != "" {
		d += fmt.Sprintf(`,"artifactType":%q`, r.ArtifactType)
	}
	return d + annotations + "}"
}

func descriptor(mediaType string, content []byte, annotations string) string {
	return row{MediaType: mediaType, Digest: bundle.DigestOf(content).String(), Size: int64(len(content))}.descriptor(annotations)
}

func title(name string) string {
	return `,"annotations":{"org.opencontainers.image.title":"` + name + `"}`
}

// carried is what of a manifest decides the roles of what it lists.
type carried struct {
	Config            *struct{ Digest string }
	Layers, Manifests []struct{ MediaType, Digest string }
}

// checkRoles works out what each blob is for, "Tables", and compares it with the blobs table.
func (s *stranger) checkRoles(content map[string][]byte) {
	order := []string{"manifest", "config", "attestation", "layer"}
	isManifest, proves, roles := map[string]bool{}, map[string]bool{}, map[string]string{}
	for _, m := range s.manifests {
		isManifest[m.Digest] = true
		proves[m.Digest] = proves[m.Digest] || m.Subject != ""
	}
	use := func(digest, role string) {
		if isManifest[digest] {
			role = "manifest"
		}
		if known, ok := roles[digest]; !ok || slices.Index(order, role) < slices.Index(order, known) {
			roles[digest] = role
		}
	}
	for digest := range isManifest {
		use(digest, "manifest")
		var m carried
		s.read(content[strings.TrimPrefix(digest, "sha256:")], &m)
		if m.Config != nil {
			use(m.Config.Digest, "config")
		}
		for _, d := range slices.Concat(m.Layers, m.Manifests) {
			switch {
			case strings.Contains(d.MediaType, ".manifest.") || strings.Contains(d.MediaType, ".index."): // a child
			case proves[digest] || d.MediaType == "application/vnd.in-toto+json":
				use(d.Digest, "attestation")
			default:
				use(d.Digest, "layer")
			}
		}
	}
	if len(roles) != len(s.blobs) {
		s.t.Errorf("%d blobs, the table has %d", len(roles), len(s.blobs))
	}
	rank := 0
	for _, b := range s.blobs {
		if roles[b.Digest] != b.Role {
			s.t.Errorf("%s is used as %s, the table says %s", b.Digest, roles[b.Digest], b.Role)
		}
		if at := slices.Index(order, b.Role); at < rank {
			s.t.Errorf("%s comes too late", b.Digest)
		} else {
			rank = at
		}
	}
}

type stranger struct {
	t                       *testing.T
	header                  struct{ Created string }
	mtime                   int64
	roots, manifests, blobs []row
	out                     bytes.Buffer
	seen                    map[string]bool
}

func (s *stranger) read(b []byte, v any) {
	if err := json.Unmarshal(b, v); err != nil {
		s.t.Fatal(err)
	}
}

func rows[T any](t *testing.T, table []byte) (all []T) {
	for line := range strings.Lines(string(table)) {
		var one T
		if err := json.Unmarshal([]byte(line), &one); err != nil {
			t.Fatal(err)
		}
		all = append(all, one)
	}
	return all
}

// add writes an entry, "Bytes of an entry".
func (s *stranger) add(name, content string) {
	h := make([]byte, 512)
	for at, field := range map[int]string{
		0: name, 100: "0000644", 108: "0000000", 116: "0000000", 124: fmt.Sprintf("%011o", len(content)), 136: fmt.Sprintf("%011o", s.mtime),
		148: "        ", 156: "0", 257: "ustar\x0000", 329: "0000000", 337: "0000000",
	} {
		copy(h[at:], field)
	}
	sum := 0
	for _, b := range h {
		sum += int(b)
	}
	copy(h[148:], fmt.Sprintf("%06o\x00 ", sum))
	s.out.Write(h)
	s.out.WriteString(content)
	s.out.Write(make([]byte, (512-len(content)%512)%512))
}

// blob writes a blob unless it is there already.
func (s *stranger) blob(content string) {
	name := "blobs/sha256/" + bundle.DigestOf([]byte(content)).Hex()
	if !s.seen[name] {
		s.seen[name] = true
		s.add(name, content)
	}
}

// derive writes index.json and the fallback indexes, "Derived entries".
func (s *stranger) derive(index, artifact string) {
	referrers := map[string][]row{} // by subject
	for _, m := range s.manifests {
		if strings.HasPrefix(m.Via, "referrers-") && !slices.ContainsFunc(referrers[m.Subject], func(r row) bool { return r.Digest == m.Digest }) {
			referrers[m.Subject] = append(referrers[m.Subject], m)
		}
	}
	var subjects []string
	for subject, list := range referrers {
		subjects = append(subjects, subject)
		slices.SortFunc(list, func(a, b row) int { return strings.Compare(a.Digest, b.Digest) })
	}
	slices.Sort(subjects)

	withType := func(content, artifactType string) string {
		d := bundle.DigestOf([]byte(content)).String()
		return row{MediaType: ociManifest, Digest: d, Size: int64(len(content)), ArtifactType: artifactType}.descriptor("")
	}
	list := []string{withType(index, "application/vnd.airgap.bundle.v1"), withType(artifact, sigstore)}
	named := map[string]bool{}
	name := func(r row, name, more string) {
		if !named[name] {
			named[name] = true
			list = append(list, r.descriptor(`,"annotations":{`+more+`"org.opencontainers.image.ref.name":"`+name+`"}`))
		}
	}
	for _, r := range s.roots {
		name(r, r.Source, `"io.containerd.image.name":"`+r.Source+`",`)
	}
	var fallbacks []string
	for _, subject := range subjects {
		var descriptors []string
		for _, r := range referrers[subject] {
			descriptors = append(descriptors, r.descriptor(""))
		}
		content := `{"schemaVersion":2,"mediaType":"` + ociIndex + `","manifests":[` + strings.Join(descriptors, ",") + `]}`
		fallbacks = append(fallbacks, content)
		name(row{MediaType: ociIndex, Digest: bundle.DigestOf([]byte(content)).String(), Size: int64(len(content))}, strings.Replace(subject, ":", "-", 1), "")
	}
	for _, m := range s.manifests {
		if m.Via == "cosign-tag" {
			name(m, m.Tag, "")
		}
	}
	for _, subject := range subjects {
		for _, r := range referrers[subject] {
			list = append(list, r.descriptor(""))
		}
	}
	s.add("index.json", `{"schemaVersion":2,"mediaType":"`+ociIndex+`","manifests":[`+strings.Join(list, ",")+`]}`)
	for _, content := range fallbacks {
		s.blob(content)
	}
}
