package report

import (
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"airgap/bundle"
)

func TestReadReportIsBounded(t *testing.T) {
	report := `{"bundle":"` + bundle.EmptyJSON.String() + `","target":"a.example"}`
	if _, err := read(strings.NewReader(report), int64(len(report))); err != nil {
		t.Error(err)
	}
	more := &endless{}
	if _, err := read(io.MultiReader(strings.NewReader(report), more), 1000); !errors.Is(err, ErrReport) || !strings.Contains(err.Error(), "more than 1000 bytes") {
		t.Errorf("%v", err)
	}
	if more.read > 1000 {
		t.Errorf("%d bytes too many were read", more.read)
	}
	broken := io.MultiReader(strings.NewReader(report), iotest.ErrReader(io.ErrUnexpectedEOF))
	if _, err := read(broken, 1000); !errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, ErrReport) {
		t.Errorf("%v", err)
	}
}

// endless is spaces without end.
type endless struct{ read int }

func (e *endless) Read(p []byte) (int, error) {
	e.read += len(p)
	return copy(p, strings.Repeat(" ", len(p))), nil
}
