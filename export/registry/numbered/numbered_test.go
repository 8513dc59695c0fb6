package numbered

import (
	"errors"
	"slices"
	"testing"

	"airgap/bundle"
)

// Whatever a listing says of itself: what is read is as many as it says that there are, or an error.
func TestAll(t *testing.T) {
	broken := errors.New("broken")
	for label, test := range map[string]struct {
		pages []Page[int] // what is answered, one after the other, also when it is read again
		err   error
		want  []int
	}{
		"none":                   {[]Page[int]{{}}, nil, nil},
		"one page":               {[]Page[int]{{[]int{1, 2}, 2, false}}, nil, []int{1, 2}},
		"two pages":              {[]Page[int]{{[]int{1, 2}, 3, true}, {[]int{3}, 3, false}}, nil, []int{1, 2, 3}},
		"the same again":         {[]Page[int]{{[]int{1, 2}, 3, true}, {[]int{2, 3}, 3, false}}, nil, []int{1, 2, 3}},
		"one comes meanwhile":    {[]Page[int]{{[]int{1, 2}, 3, true}, {[]int{3}, 4, false}, {[]int{1, 2}, 4, true}, {[]int{3, 4}, 4, false}}, nil, []int{1, 2, 3, 4}},
		"always another":         {[]Page[int]{{[]int{1}, 9, true}, {[]int{2}, 8, true}, {[]int{1}, 7, true}, {[]int{2}, 6, true}, {[]int{1}, 5, true}, {[]int{2}, 4, true}}, ErrChanged, nil},
		"less than it says":      {[]Page[int]{{[]int{1}, 2, false}, {nil, 2, false}, {[]int{1}, 2, false}, {nil, 2, false}, {[]int{1}, 2, false}, {nil, 2, false}}, bundle.ErrFormat, nil},
		"more than it says":      {[]Page[int]{{[]int{1, 2}, 1, false}, {[]int{1, 2}, 1, false}, {[]int{1, 2}, 1, false}}, ErrChanged, nil},
		"a negative total":       {[]Page[int]{{nil, -1, false}}, bundle.ErrFormat, nil},
		"more than is read":      {[]Page[int]{{nil, 1001, false}}, bundle.ErrLimit, nil},
		"an error in the middle": {[]Page[int]{{[]int{1}, 2, true}}, broken, nil},
	} {
		t.Run(label, func(t *testing.T) {
			next := 0
			got, err := All(1000, func(int) (Page[int], error) {
				if next == len(test.pages) {
					return Page[int]{}, broken
				}
				next++
				return test.pages[next-1], nil
			}, func(n int) int { return n })
			if !errors.Is(err, test.err) || !slices.Equal(got, test.want) || next != len(test.pages) {
				t.Errorf("%v, %v, after %d of %d pages", got, err, next, len(test.pages))
			}
		})
	}
}
