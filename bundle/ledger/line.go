package ledger

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"airgap/bundle"
)

// Line names a bundle of a mirror as people say it (FORMAT.md, "Receipts"): dhi@12, with the beginning of its identity and a word
// that shows whether it was heard right.
type Line struct {
	Mirror   string
	Sequence uint64
	Identity string // the first 12 hexadecimal characters of Header.Identity, or "" where only the number was said
}

// ErrLine: a text does not name a bundle of a mirror.
var ErrLine = errors.New("not the name of a bundle")

// identityHex is how many hexadecimal characters of an identity are in a line.
const identityHex = 12

// LineOf returns the line for the bundle of a mirror that has the given number and identity.
func LineOf(mirror string, sequence uint64, identity bundle.Digest) Line {
	return Line{Mirror: mirror, Sequence: sequence, Identity: identity.Hex()[:identityHex]}
}

// Names tells whether an identity is the one that was said, if one was.
func (l Line) Names(identity bundle.Digest) bool {
	return strings.HasPrefix(identity.Hex(), l.Identity)
}

// String writes the line, with its word where there is an identity.
func (l Line) String() string {
	said := fmt.Sprintf("%s@%d", l.Mirror, l.Sequence)
	if l.Identity == "" {
		return said
	}
	said += " sha256:" + l.Identity
	return said + " " + wordFor(said)
}

var linePattern = regexp.MustCompile(`^(\S{1,100})@([0-9]{1,20})(?: (?:sha256:)?([0-9a-f]{12})(?:\.\.\.)?(?: ([a-z]+))?)?$`)

// ParseLine reads a line as somebody types it: with or without the identity, and with that with or without the word. Errors wrap
// ErrLine.
func ParseLine(s string) (Line, error) {
	parts := linePattern.FindStringSubmatch(strings.ToLower(strings.Join(strings.Fields(s), " ")))
	if parts == nil {
		return Line{}, fmt.Errorf("%w: %.200q; dhi@12 or dhi@12 sha256:1f3a9c0b2d4e WORD expected", ErrLine, s)
	}
	sequence, err := strconv.ParseUint(parts[2], 10, 64)
	if err != nil || sequence == 0 {
		return Line{}, fmt.Errorf("%w: %.200q: %s is not a number that a bundle can have", ErrLine, s, parts[2])
	}
	if err := bundle.CheckMirror(parts[1]); err != nil {
		return Line{}, fmt.Errorf("%w: %w", ErrLine, err)
	}
	l := Line{Mirror: parts[1], Sequence: sequence, Identity: parts[3]}
	if word := parts[4]; word != "" && !strings.HasSuffix(l.String(), " "+word) {
		return Line{}, fmt.Errorf("%w: %q ends in a word that does not fit the rest: it was misheard, or mistyped; have it read again", ErrLine, s)
	}
	return l, nil
}

// wordFor returns the word that goes with what was said.
func wordFor(said string) string {
	return strings.Fields(words)[sha256.Sum256([]byte(said))[0]]
}

// words are the 256 of FORMAT.md, sorted. No two of them differ in fewer than three letters.
const words = `
	abbey acorn agenda alarm almond amigo anchor angel antler apple apron aspen atlas attic autumn badge ballet bamboo banana bandit
	banjo beacon beaver beetle bishop branch breeze brick bucket butter cabin cactus camera candle cannon carpet cedar cello chalk
	chapel cherry chimney cinema circle citrus clover cobalt cobweb coconut coffee comet compass comrade concert copper cosmos
	cottage cotton crater cricket crystal cushion dagger daisy decade deer dentist diamond dinner dolly dolphin donkey dragon drum
	dusk eagle easel eclipse elbow elder emperor engine evening fabric farmer feather fiddle filter flag flute forest fossil galaxy
	gallop garage garden garlic gecko giant giraffe glacier goose granite gravel guitar gypsum harbor harvest hatchet helmet horizon
	hotel hurdle iceberg igloo indigo insect island ivory jaguar jasmine jersey jewel jigsaw jungle juniper kayak kennel kitchen
	kiwi knight ladder lagoon lantern laurel legend lemon leopard lettuce library lilac lizard lobster lotus lumber lunar magnet
	magpie mammoth marble meadow meteor mirror mitten molar morning mosaic mustard napkin nectar nephew nickel nomad noodle nutmeg
	oasis oatmeal ocean octopus olive onion opera orbit orchid osprey palace panda paper parcel parrot pastry pebble pelican pencil
	penguin pharaoh pigeon pillow pirate plaza pony potato prairie pumpkin puzzle pyramid quartz queen quilt rabbit raisin rapids
	rhubarb ribbon river rodeo ruby sailor scarf school seagull seven sherpa sketch skylark sleigh snow sphinx spider spruce stadium
	statue sunset swan tavern teapot temple textile thimble thunder topaz tractor trident truffle trumpet tulip tuxedo unicorn
	vampire vanilla village vinegar violin volcano vortex waffle walnut whistle window wolf wombat yacht yogurt zebra zigzag zodiac
`
