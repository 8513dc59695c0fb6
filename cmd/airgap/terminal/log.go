package terminal

import (
	"fmt"
	"io"
	"log/slog"
	"strings"
)

// Format is how messages are written to standard error.
type Format string

// The formats of --log-format.
const (
	FormatText Format = "text"
	FormatJSON Format = "json"
)

// ParseFormat reads the value of --log-format.
func ParseFormat(s string) (Format, error) {
	switch f := Format(s); f {
	case FormatText, FormatJSON:
		return f, nil
	}
	return "", fmt.Errorf("%q is no log format: text or json", s)
}

// ParseLevel reads the value of --log-level.
func ParseLevel(s string) (slog.Level, error) {
	levels := map[string]slog.Level{
		"debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError,
	}
	level, ok := levels[strings.ToLower(s)]
	if !ok {
		return 0, fmt.Errorf("%q is no log level: debug, info, warn or error", s)
	}
	return level, nil
}

// NewLogger returns a logger whose lines cannot do anything to a terminal: slog's text handler quotes whatever is
// not printable, and for its JSON handler jsonEscaper does.
func NewLogger(w io.Writer, format Format, level slog.Level) *slog.Logger {
	options := &slog.HandlerOptions{Level: level}
	if format == FormatJSON {
		return slog.New(slog.NewJSONHandler(jsonEscaper{w}, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}
