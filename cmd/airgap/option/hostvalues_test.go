package option

import (
	"strings"
	"testing"
)

func TestReadSecret(t *testing.T) {
	for in, want := range map[string]string{"a": "a", "a\n": "a", "a\r\n": "a", " a \n\n": " a \n"} {
		if got, err := readSecret(strings.NewReader(in)); got != want || err != nil {
			t.Errorf("%q: got %q, %v", in, got, err)
		}
	}
	if _, err := readSecret(strings.NewReader(strings.Repeat("a", 64<<10+1))); err == nil {
		t.Error("no limit")
	}
}

func TestSplitHost(t *testing.T) {
	for value, want := range map[string][2]string{
		"harbor.example.com=x": {"harbor.example.com", "x"},
		"docker.io=a=b":        {"index.docker.io", "a=b"},
		"localhost=x":          {"localhost", "x"},
		"./a=b.pem":            {"harbor.example.com", "./a=b.pem"},
		"/x.y/a=b.pem":         {"harbor.example.com", "/x.y/a=b.pem"},
		"robot$a=b":            {"harbor.example.com", "robot$a=b"},
		"[::1]:5000=x":         {"[::1]:5000", "x"},
	} {
		host, rest, err := splitHost("f", value, []string{"harbor.example.com"})
		if host != want[0] || rest != want[1] || err != nil {
			t.Errorf("%s: got %s, %s, %v", value, host, rest, err)
		}
	}
}
