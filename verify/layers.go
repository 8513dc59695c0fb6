package verify

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"airgap/bundle"
	"airgap/bundle/strictjson"
)

// Bounds of what a layer may unpack to, and of what unpacking it may take.
const (
	// maxConfigSize is that of manifests: registries take no larger ones as documents, and diff_ids are small.
	maxConfigSize = bundle.MaxManifestSize
	// A layer may unpack to this much, whatever its own size: small layers of zeros are harmless.
	freeUnpackedSize = 1 << 30
	// maxRatio is a little more than what DEFLATE can do at all (1032:1). zstd can do more, but no honest layer of more
	// than freeUnpackedSize does.
	maxRatio = 1100
	// maxWindow is the memory that a zstd layer may ask for. RFC 8878, section 3.1.1.1.2, recommends to support 8 MiB;
	// what makes layers goes up to 32 MiB.
	maxWindow = 32 << 20
)

// ErrLayer: a layer does not unpack to what the image's config says.
var ErrLayer = errors.New("layer does not unpack to what the config says")

// imageConfigTypes are the configs that have diff_ids.
// https://github.com/opencontainers/image-spec/blob/v1.1.1/config.md
var imageConfigTypes = map[string]bool{
	"application/vnd.oci.image.config.v1+json":       true,
	"application/vnd.docker.container.image.v1+json": true,
}

// image is an image manifest whose layers can be compared with its config. Rows are those of the blobs table.
type image struct {
	manifest, config int
	layers           []int
	diffIDs          []bundle.Digest // nil until the config has been read
}

// layerCheck compares unpacked layers with configs.
type layerCheck struct {
	bundle   *Bundle
	images   []*image
	byConfig map[int][]*image
	byLayer  map[int][]*image
}

// newLayerCheck finds the images. In a file it reads their configs as well; from a pipe they come before the layers.
func newLayerCheck(b *Bundle) (*layerCheck, error) {
	c := &layerCheck{bundle: b, byConfig: map[int][]*image{}, byLayer: map[int][]*image{}}
	contents := b.Contents()
	for row := range b.graph.Manifests() {
		node := b.graph.Node(row)
		if bundle.IsIndex(node.MediaType) {
			continue
		}
		m, err := b.reader.ParseManifest(contents.Blobs[row].Digest)
		if err != nil {
			return nil, err
		}
		if imageConfigTypes[m.Config.MediaType] {
			c.add(row, &node)
		}
	}
	var problems bundle.Problems
	for row := range c.byConfig {
		if b.comesBy(row) || !b.Has(row) {
			continue
		}
		blob, err := b.Open(row)
		if err == nil {
			err = c.config(row, blob)
		}
		if err != nil {
			problems.Add(fmt.Errorf("%s: %w", b.graph.Path(row), err))
		}
	}
	return c, problems.Err()
}

// add notes an image. The first blob of its node is its config.
func (c *layerCheck) add(row int, node *bundle.Node) {
	i := &image{manifest: row, config: int(node.Blobs[0])}
	for _, layer := range node.Blobs[1:] {
		i.layers = append(i.layers, int(layer))
		if known := c.byLayer[int(layer)]; len(known) == 0 || known[len(known)-1] != i {
			c.byLayer[int(layer)] = append(known, i)
		}
	}
	c.images = append(c.images, i)
	c.byConfig[i.config] = append(c.byConfig[i.config], i)
}

// config reads a config to its end, and keeps its diff_ids.
func (c *layerCheck) config(row int, blob io.Reader) error {
	content, err := io.ReadAll(io.LimitReader(blob, maxConfigSize+1))
	if err != nil {
		return err
	}
	if len(content) > maxConfigSize {
		return fmt.Errorf("%w: a config of more than %d bytes", bundle.ErrLimit, maxConfigSize)
	}
	var config struct {
		RootFS struct {
			DiffIDs []bundle.Digest `json:"diff_ids"`
		} `json:"rootfs"`
		Config json.RawMessage `json:"config"` // labels and environment: the user's own keys
	}
	if err := strictjson.Unmarshal(content, &config); err != nil {
		return fmt.Errorf("%w: config: %w", bundle.ErrFormat, err)
	}
	for _, i := range c.byConfig[row] {
		if len(config.RootFS.DiffIDs) != len(i.layers) {
			return fmt.Errorf("%w: %d diff_ids for %d layers", ErrLayer, len(config.RootFS.DiffIDs), len(i.layers))
		}
		i.diffIDs = config.RootFS.DiffIDs
	}
	return nil
}

// withoutConfig returns how many layers there are to be read for images whose configs are not there.
func (c *layerCheck) withoutConfig() (layers int) {
	for row, images := range c.byLayer {
		if c.bundle.Has(row) && slices.ContainsFunc(images, func(i *image) bool { return !c.bundle.Has(i.config) }) {
			layers++
		}
	}
	return layers
}

// isConfig and isLayer tell what a blob has to be read as.
func (c *layerCheck) isConfig(row int) bool { return c != nil && len(c.byConfig[row]) > 0 }
func (c *layerCheck) isLayer(row int) bool  { return c != nil && len(c.byLayer[row]) > 0 }

// layer reads a layer to its end, unpacks it on the way, and compares it with all configs that list it. That the packed
// bytes are wrong is reported alone, since everything else follows from it.
func (c *layerCheck) layer(row int, blob io.Reader, buffer []byte) error {
	size := c.bundle.Contents().Blobs[row].Size
	packed := bufio.NewReaderSize(blob, len(buffer))
	got, unpackErr := unpackedDigest(packed, max(freeUnpackedSize, size*maxRatio))
	rest, err := io.Copy(io.Discard, packed)
	switch {
	case err != nil:
		return err
	case unpackErr != nil:
		return fmt.Errorf("%w: %w", ErrLayer, unpackErr)
	case rest > 0:
		return fmt.Errorf("%w: %d bytes follow its end", ErrLayer, rest)
	}
	var problems bundle.Problems
	for _, i := range c.byLayer[row] {
		for at, layer := range i.layers {
			if layer == row && i.diffIDs != nil && i.diffIDs[at] != got {
				problems.Add(fmt.Errorf("%w: it unpacks to %s, the config of %s says %s",
					ErrLayer, got, c.bundle.graph.Path(i.manifest), i.diffIDs[at]))
			}
		}
	}
	return problems.Err()
}

// unpackedDigest hashes what a layer unpacks to. As container runtimes do, it tells the compression from the first bytes.
func unpackedDigest(packed *bufio.Reader, limit int64) (bundle.Digest, error) {
	unpacked, err := unpack(packed)
	if err != nil {
		return bundle.Digest{}, err
	}
	defer unpacked.Close()
	hash := sha256.New()
	n, err := io.Copy(hash, io.LimitReader(unpacked, limit+1))
	switch {
	case errors.Is(err, zstd.ErrWindowSizeExceeded), errors.Is(err, zstd.ErrDecoderSizeExceeded):
		return bundle.Digest{}, fmt.Errorf("%w: it needs a window of more than %d bytes to unpack", bundle.ErrLimit, maxWindow)
	case err != nil:
		return bundle.Digest{}, err
	case n > limit:
		return bundle.Digest{}, fmt.Errorf("%w: it unpacks to more than %d bytes", bundle.ErrLimit, limit)
	}
	return bundle.Digest(hash.Sum(nil)), nil
}

// Magic numbers: RFC 1952, section 2.3.1, and RFC 8878, section 3.1.1.
var (
	gzipMagic = []byte{0x1f, 0x8b}
	zstdMagic = []byte{0x28, 0xb5, 0x2f, 0xfd}
)

func unpack(packed *bufio.Reader) (io.ReadCloser, error) {
	start, err := packed.Peek(len(zstdMagic))
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	switch {
	case bytes.HasPrefix(start, gzipMagic):
		return gzip.NewReader(packed)
	case bytes.HasPrefix(start, zstdMagic):
		d, err := zstd.NewReader(packed, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(maxWindow))
		if err != nil {
			return nil, err
		}
		return d.IOReadCloser(), nil
	}
	return io.NopCloser(packed), nil
}
