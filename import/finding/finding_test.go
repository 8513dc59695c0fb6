package finding_test

import (
	"errors"
	"testing"

	"airgap/import/finding"
)

// A finding is one line, also where several things were wrong.
func TestSeveralErrorsInOneLine(t *testing.T) {
	var list finding.List
	several := errors.Join(errors.New("the first page is broken"), errors.New("the second is not there"))
	if err := list.Unchecked(t.Context(), finding.CheckGC, "harbor.example.com", "whether garbage is collected", "", several); err != nil {
		t.Fatal(err)
	}
	lines := finding.Lines(list.All())
	want := "harbor.example.com: not checked: whether garbage is collected (the first page is broken; the second is not there)"
	if len(lines) != 1 || lines[0] != want {
		t.Errorf("%q\nwant %q", lines, want)
	}
}
