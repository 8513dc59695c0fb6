package policy

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"unicode/utf8"
)

// Condition is one line of expect. Only Parse makes one.
type Condition struct {
	Path Path
	Text string // for people, as in `$.predicate.x is "y"`

	decode bool                 // the values are base64 of what counts
	holds  func(value any) bool // nil: that the path leads somewhere, or nowhere, is all that is asked for
	empty  bool                 // the path has to lead nowhere
	wanted []any                // of is and in: texts, numbers (*big.Rat), true, false and nil
}

// Check tells why the condition does not hold for a decoded statement, or nil where it does. Statements are decoded with
// json.Decoder.UseNumber.
func (c *Condition) Check(statement any) error {
	values, err := c.Path.values(statement)
	switch {
	case err != nil:
		return fmt.Errorf("%s %w", c.Path, err)
	case c.empty && len(values) > 0:
		return fmt.Errorf("%s leads to %s, but must not be there", c.Path, show(values[0]))
	case c.empty:
		return nil
	case len(values) == 0:
		return fmt.Errorf("%s leads to nothing, but %s is expected", c.Path, c.Text)
	case c.holds == nil:
		return nil
	}
	for _, value := range values {
		if c.decode {
			if value, err = decodeBase64(value); err != nil {
				return fmt.Errorf("%s %w", c.Path, err)
			}
		}
		if !c.holds(value) {
			return fmt.Errorf("%s is expected, but it is %s", c.Text, show(value))
		}
	}
	return nil
}

// decodeBase64 returns the text that a value stands for (RFC 4648, section 4).
func decodeBase64(value any) (string, error) {
	text, isText := value.(string)
	decoded, err := base64.StdEncoding.DecodeString(text)
	if !isText || err != nil || !utf8.Valid(decoded) {
		return "", fmt.Errorf("is %s, which is no base64 of a text", show(value))
	}
	return string(decoded), nil
}

// excludes tells whether two conditions on one path can never hold together. False may mean that it is not known.
func (c *Condition) excludes(other *Condition) bool {
	if c.empty != other.empty {
		return true
	}
	return c.wanted != nil && other.wanted != nil && !slices.ContainsFunc(c.wanted, func(one any) bool {
		return slices.ContainsFunc(other.wanted, func(two any) bool {
			a, isNumber := one.(*big.Rat)
			b, _ := two.(*big.Rat)
			return one == two || isNumber && b != nil && a.Cmp(b) == 0
		})
	})
}

// show writes a value of a statement for a message. It is text from outside.
func show(value any) string {
	switch value := value.(type) {
	case string:
		return fmt.Sprintf("%.100q", value)
	case map[string]any:
		return "an object"
	case []any:
		return "a list"
	}
	return fmt.Sprintf("%.100v", value)
}

// equal tells whether a value of a statement is the one of a policy: of the same kind, numbers by what they are worth.
func equal(value, wanted any) bool {
	if wanted, isNumber := wanted.(*big.Rat); isNumber {
		n := number(value)
		return n != nil && n.Cmp(wanted) == 0
	}
	switch value.(type) {
	case string, bool, nil:
		return value == wanted
	}
	return false
}

// maxNumber and maxExponent bound the numbers that are compared, which are then worth what they say to the last digit.
const (
	maxNumber   = 64 // bytes
	maxExponent = 4  // bytes, with its sign
)

// number returns what a JSON number is worth; nil where the value is none, or too long for one that means anything.
func number(value any) *big.Rat {
	text, isNumber := value.(json.Number)
	if !isNumber {
		return nil
	}
	n, _ := parseNumber(string(text))
	return n
}

func parseNumber(text string) (*big.Rat, error) {
	_, exponent, _ := strings.Cut(strings.ToLower(text), "e")
	if len(text) > maxNumber || len(exponent) > maxExponent || !json.Valid([]byte(text)) {
		return nil, errors.New("not a number as JSON writes them, or too long")
	}
	n, ok := new(big.Rat).SetString(text)
	if !ok {
		return nil, errors.New("not a number as JSON writes them")
	}
	return n, nil
}
