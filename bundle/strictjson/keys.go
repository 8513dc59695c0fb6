package strictjson

import (
	"bytes"
	"unicode"
	"unicode/utf8"
)

// fewKeys is how many keys of an object are compared one by one, without memory of their own. Nearly all objects
// have fewer; beyond it a map keeps the time linear.
const fewKeys = 8

// keySet holds the keys of one object.
type keySet struct {
	folding bool // keys that differ only in case clash
	few     [fewKeys][]byte
	n       int
	many    map[string][]byte // by the key, or by its folded form where folding; nil up to fewKeys
	scratch []byte
}

// add adds key and returns the key that was there before and clashes with it, if there is one.
func (k *keySet) add(key []byte) (other []byte, clash bool) {
	if k.many != nil {
		return k.addToMany(key)
	}
	for _, other := range k.few[:k.n] {
		if k.equal(other, key) {
			return other, true
		}
	}
	if k.n < fewKeys {
		k.few[k.n] = key
		k.n++
		return nil, false
	}
	k.many = make(map[string][]byte, 4*fewKeys)
	for _, earlier := range k.few {
		k.addToMany(earlier)
	}
	return k.addToMany(key)
}

func (k *keySet) equal(a, b []byte) bool {
	if k.folding {
		return bytes.EqualFold(a, b)
	}
	return bytes.Equal(a, b)
}

func (k *keySet) addToMany(key []byte) (other []byte, clash bool) {
	name := key
	if k.folding {
		k.scratch = appendFolded(k.scratch[:0], key)
		name = k.scratch
	}
	if other, clash := k.many[string(name)]; clash {
		return other, true
	}
	k.many[string(name)] = key
	return nil, false
}

// appendFolded appends a form of key, valid UTF-8, that two keys share exactly if bytes.EqualFold holds for them:
// each character is replaced by the smallest one that it folds to.
func appendFolded(dst, key []byte) []byte {
	for i := 0; i < len(key); {
		c := key[i]
		if c < utf8.RuneSelf {
			if 'a' <= c && c <= 'z' {
				c -= 'a' - 'A'
			}
			dst = append(dst, c)
			i++
			continue
		}
		r, size := utf8.DecodeRune(key[i:])
		dst = utf8.AppendRune(dst, smallestFold(r))
		i += size
	}
	return dst
}

// smallestFold walks the orbit of r: SimpleFold goes upwards and from the largest back to the smallest.
func smallestFold(r rune) rune {
	for {
		next := unicode.SimpleFold(r)
		if next <= r {
			return next
		}
		r = next
	}
}
