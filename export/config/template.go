package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"strings"
	"text/template"
	"time"
)

const maxExpansion = 256 << 10 // bytes of what a template makes

var errTooLong = errors.New("the template makes too long a text")

// expander evaluates templates with regsync's functions (regclient's pkg/template).
type expander struct {
	env Environment
	// strict makes a variable or file that is missing an error; regsync takes it for empty.
	strict bool
}

// missingError: a template asks for something that is not there.
type missingError struct{ what, name string }

func (e *missingError) Error() string {
	return fmt.Sprintf("the %s %.100q is not there", e.what, e.name)
}

func (x expander) functions() template.FuncMap {
	return template.FuncMap{
		"default":     orDefault,
		"env":         x.variable,
		"file":        x.content,
		"join":        strings.Join,
		"json":        func(v any) string { return toJSON(v, "") },
		"jsonPretty":  func(v any) string { return toJSON(v, "  ") },
		"printPretty": func(v any) string { return toJSON(v, "  ") },
		"lower":       strings.ToLower,
		"split":       strings.Split,
		"time":        func() clock { return clock{x.env.Now} },
		"trimSpace":   strings.TrimSpace,
		"upper":       strings.ToUpper,
	}
}

func orDefault(fallback, v any) any {
	if v == nil || reflect.ValueOf(v).IsZero() {
		return fallback
	}
	return v
}

func (x expander) variable(name string) (string, error) {
	text, isSet := "", false
	if x.env.LookupEnv != nil {
		text, isSet = x.env.LookupEnv(name)
	}
	if !isSet && x.strict {
		return "", &missingError{"environment variable", name}
	}
	return text, nil
}

func (x expander) content(name string) (string, error) {
	err := errors.New("no files here")
	var content []byte
	if x.env.ReadFile != nil {
		content, err = x.env.ReadFile(name)
	}
	if err != nil && x.strict {
		return "", &missingError{"file", name}
	}
	return strings.TrimSpace(string(content)), nil
}

func toJSON(v any, indent string) string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", indent)
	_ = e.Encode(v) // as regsync
	return b.String()
}

// clock is what "time" gives: {{ time.Now.Format "2006" }}.
type clock struct{ now func() time.Time }

// Now returns the time.
func (c clock) Now() time.Time {
	if c.now == nil {
		return time.Time{}
	}
	return c.now()
}

// Parse reads a time.
func (clock) Parse(layout, value string) (time.Time, error) { return time.Parse(layout, value) }

// expand evaluates a template. Its errors may hold parts of the template.
func (x expander) expand(text string, data any) (string, error) {
	if !strings.Contains(text, "{{") {
		return text, nil
	}
	t, err := template.New("").Funcs(x.functions()).Parse(text)
	if err != nil {
		return "", err
	}
	var out boundedBuffer
	if err := t.Execute(&out, data); err != nil {
		return "", err
	}
	return out.String(), nil
}

// templateNoise is what package template says for Go programmers: where in the text, and which types and values of Go.
var templateNoise = regexp.MustCompile(`(?s)^template: :\d+(:\d+)?: (executing "" )?|( in| of| for arg of) type .*|; got .*| over .*`)

// templateMessage says in one line why a template cannot be evaluated.
func templateMessage(err error) string { return templateNoise.ReplaceAllString(err.Error(), "") }

type boundedBuffer struct{ strings.Builder }

func (b *boundedBuffer) Write(p []byte) (int, error) {
	if b.Len()+len(p) > maxExpansion {
		return 0, errTooLong
	}
	return b.Builder.Write(p)
}
