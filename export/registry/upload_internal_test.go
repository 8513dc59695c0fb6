package registry

import "testing"

func TestUploadedBytes(t *testing.T) {
	for _, test := range []struct {
		header string
		sent   int64
		told   bool
	}{
		{"0-99", 100, true}, {"bytes=0-1", 2, true}, {"0-998", 999, true}, {"0-999", 1000, true},
		{"0-0", 0, true}, // one byte, or none
		{"0-1000", 0, false}, {"1-99", 0, false}, {"0--5", 0, false}, {"0-", 0, false}, {"", 0, false}, {"99", 0, false},
		{"0-99999999999999999999", 0, false}, {"0-0x10", 0, false},
	} {
		if sent, told := uploadedBytes(test.header, 1000); sent != test.sent || told != test.told {
			t.Errorf("%q: %d, %t", test.header, sent, told)
		}
	}
}
