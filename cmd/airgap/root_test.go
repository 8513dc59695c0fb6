package main

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"airgap/cmd/airgap/app"
	"airgap/cmd/airgap/terminal"
)

func TestUsageErrors(t *testing.T) {
	w := newWorld(t)
	for _, test := range []struct {
		args    string
		message string
	}{
		{"", "no command given"},
		{"exprt", `there is no command "exprt"`},
		{"versio", `there is no command "versio"; perhaps version was meant`},
		{"imprt x.tar --key y", `there is no command "imprt"`},
		{"--nope", "no command given"},
		{"version more", `"airgap version" takes no arguments, but was given "more"`},
		{"version --nope", "unknown flag: --nope\n  See \"airgap version --help\"."},
		{"login", "HOST is missing: airgap login HOST"},
		{"import --key x", "FILE and REGISTRY[/PREFIX] are missing: airgap import FILE"},
		{"verify x --kye y", "unknown flag: --kye; perhaps --key was meant"},
		{"config chekc", "perhaps check was meant"},
		{"import x.tar . --key y", ". is a file or a directory on this machine, and the last argument is the registry"},
		{"export docker.io/a/b:1 --key y -o nowhere/x.tar", "--output: there is no directory nowhere"},
		{"split x.tar --volume-size 1KiB", `--volume-size: "1KiB" is no size of at least 64KiB`},
		{"login a b", `what is "b" for? After HOST nothing else is expected`},
		{"version --log-level loud", `--log-level: "loud" is no log level: debug, info, warn or error`},
		{"version --log-format xml", `--log-format: "xml" is no log format: text or json`},
	} {
		w.expect(t, exitUsage, test.message, strings.Fields(test.args)...)
	}
}

func TestFilesThatAreNotThere(t *testing.T) {
	w := newWorld(t)
	t.Setenv("AIRGAP_PASSWORD", "x")
	w.expect(t, exitOK, "", "keygen", "--output-key-prefix", w.home+"/airgap")
	public, private := w.home+"/airgap.pub", w.home+"/airgap.key"
	for _, test := range []struct {
		args    string
		message string
	}{
		{"join x.tar --base y.tar --key " + private + " --trust nope.pub -o z.tar", "--trust: open nope.pub: no such file"},
		{"verify x.tar --key nope.pub", `--key: open nope.pub: no such file or directory; it is the .pub file that "airgap keygen" wrote`},
		{"inspect nope.tar", "nope.tar: no such file"},
		{"verify nope.tar --key " + public, "nope.tar: no such file"},
		{"import nope.tar localhost:1/y --key " + public, "nope.tar: no such file"},
		{"verify nope.tar.001 nope.tar.002 --key " + public, "nope.tar.001: no such file"},
		{"split nope.tar --volume-size dvd -o x.tar", "nope.tar: no such file"},
		{"export localhost:1/x:1 --key nope.key -o y.tar", "--key: open nope.key: no such file"},
		{"verify x.tar --key " + private, "this is a private key"},
		{"export localhost:1/x:1 --key " + public + " -o y.tar", "public key"},
		{"rollback nope.json", `no such file or directory; a report is what "airgap import --report FILE" wrote`},
		{"import x.tar localhost:1/y --key nope.pub --report nowhere/report.json", "--report: open nowhere/report.json"},
		{"plan -f nope.txt", "--file: open nope.txt"},
	} {
		w.expect(t, exitUsage, test.message, strings.Fields(test.args)...)
	}
}

func TestErrorsAsJSON(t *testing.T) {
	w := newWorld(t)
	w.expect(t, exitUsage, "", "login", "--log-format", "json", "https://x")
	var record struct {
		Level, Msg string
		Code       int `json:"exit_code"`
	}
	if err := json.Unmarshal(w.err.Bytes(), &record); err != nil {
		t.Fatalf("%s: %v", w.err.String(), err)
	}
	if record.Level != "ERROR" || record.Code != exitUsage || !strings.Contains(record.Msg, "is a URL") {
		t.Errorf("got %+v", record)
	}
}

func TestInterruptedIsNotTheErrorThatFollows(t *testing.T) {
	w := newWorld(t)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	w.Stdin = strings.NewReader("secret")
	code := run(ctx, []string{"login", "localhost:1", "-u", "me", "--password-stdin"}, w.App)
	if code != exitInterrupted || w.err.String() != "airgap: interrupted\n" {
		t.Errorf("exit code %d, %q", code, w.err.String())
	}
}

func TestResultThatCannotBeWritten(t *testing.T) {
	w := newWorld(t)
	w.Stdout = brokenWriter{}
	w.expect(t, exitFailure, "the result could not be written to standard output: no space left on device", "version")
}

// Every command has what a person needs who runs it with --help.
func TestHelp(t *testing.T) {
	w := newWorld(t)
	root := newRoot(w.App)
	var visit func(cmd *cobra.Command)
	visit = func(cmd *cobra.Command) {
		if cmd.Short == "" || strings.HasSuffix(cmd.Short, ".") {
			t.Errorf("%s: the short help is %q", cmd.CommandPath(), cmd.Short)
		}
		if cmd.GroupID != "" && (cmd.Example == "" || cmd.Long == "") {
			t.Errorf("%s: no example or no description", cmd.CommandPath())
		}
		for line := range strings.Lines(cmd.Long + "\n" + cmd.Example) {
			if len([]rune(line)) > 120 {
				t.Errorf("%s: a line too long for the help: %s", cmd.CommandPath(), line)
			}
		}
		for _, sub := range cmd.Commands() {
			visit(sub)
		}
	}
	visit(root)
	if code := w.run("--help"); code != exitOK || !strings.Contains(w.out.String(), "airgap import") || w.err.Len() > 0 {
		t.Errorf("exit code %d\n%s%s", code, w.out.String(), w.err.String())
	}
}

func TestVersion(t *testing.T) {
	w := newWorld(t)
	w.expect(t, exitOK, "", "version")
	if !strings.HasPrefix(w.out.String(), "airgap ") {
		t.Errorf("got %q", w.out.String())
	}
	w.expect(t, exitOK, "", "--version")
	if !strings.HasPrefix(w.out.String(), "airgap version ") {
		t.Errorf("got %q", w.out.String())
	}
	w.expect(t, exitOK, "", "version", "--json")
	var b app.Build
	if err := json.Unmarshal(w.out.Bytes(), &b); err != nil || b.Version == "" || b.Platform == "" {
		t.Errorf("got %s, %v", w.out.String(), err)
	}
}

func TestCompletion(t *testing.T) {
	w := newWorld(t)
	w.expect(t, exitOK, "", "completion", "bash")
	w.expect(t, exitOK, "", "__complete", "version", "--log-format", "")
	if got := w.out.String(); !strings.HasPrefix(got, "text\njson\n") {
		t.Errorf("got %q", got)
	}
}

// What a command or a registry says cannot do anything to the terminal, nor pass for something else.
func TestErrorsAreEscaped(t *testing.T) {
	w := newWorld(t)
	w.Screen = terminal.NewScreen(&w.err, nil)
	reportError(context.Background(), w.App, &cobra.Command{Use: "airgap"}, errors.Join(errors.New("\x1b[2Jgone\nairgap: all is well"), errors.New("and more")))
	if got, want := w.err.String(), "airgap: \\x1b[2Jgone\\nairgap: all is well\n  and more\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
