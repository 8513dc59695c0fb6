package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"airgap/bundle"
	"airgap/cmd/airgap/app"
	"airgap/export"
	"airgap/export/registry"
	"airgap/import/finding"
	"airgap/import/placing"
	"airgap/import/readback"
	"airgap/import/report"
	"airgap/import/rollback"
	"airgap/import/target"
	"airgap/import/transfer"
	"airgap/verify"
	"airgap/verify/signature"
)

func TestExitCode(t *testing.T) {
	for _, test := range []struct {
		err  error
		want int
	}{
		{nil, exitOK},
		{errors.New("something"), exitFailure},
		{&fs.PathError{Op: "write", Path: "x", Err: syscall.ENOSPC}, exitFailure},
		{app.Usagef("no"), exitUsage},
		{export.ErrReference, exitUsage},
		{verify.ErrNoKey, exitUsage},
		{bundle.ErrFormat, exitDamaged},
		{bundle.ErrDigest, exitDamaged},
		{bundle.ErrLimit, exitDamaged},
		{bundle.ErrUnsupported, exitFailure},
		{signature.ErrUntrustedKey, exitUntrusted},
		{signature.ErrMalformed, exitUntrusted},
		{signature.ErrWrongPredicate, exitUntrusted},
		{signature.ErrWrongSubject, exitUntrusted},
		{signature.ErrKey, exitUsage},
		{signature.ErrPassword, exitFailure},
		{registry.ErrUnauthorized, exitUnauthorized},
		{registry.ErrForbidden, exitUnauthorized},
		{registry.ErrNotFound, exitMissing},
		{registry.ErrRepositoryUnknown, exitMissing},
		{export.ErrNoReferrers, exitMissing},
		{export.ErrSubject, exitDamaged},
		{bundle.ErrCollision, exitConflict},
		{placing.ErrMapping, exitUsage},
		{target.ErrConflict, exitConflict},
		{placing.ErrCollision, exitConflict},
		{transfer.ErrSparse, exitConflict},
		{transfer.ErrRefused, exitConflict},
		{target.ErrDiffers, exitDiffers},
		{rollback.ErrNotRolledBack, exitDiffers},
		{report.ErrReport, exitUsage},
		{finding.ErrBlocked, exitPreflight},
		{errors.Join(finding.ErrBlocked, target.ErrConflict, registry.ErrUnauthorized), exitPreflight},
		{readback.ErrUnchecked, exitUnchecked},
		{registry.ErrUnavailable, exitUnreachable},
		{registry.ErrThrottled, exitUnreachable},
		{&net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}, exitUnreachable},
		{&url.Error{Op: "Get", URL: "https://x", Err: errors.New("x509")}, exitUnreachable},
		{&net.DNSError{Name: "x"}, exitUnreachable},
		{context.Canceled, exitInterrupted},
		{&url.Error{Op: "Get", URL: "https://x", Err: context.Canceled}, exitInterrupted},
		{errors.Join(errors.New("other"), bundle.ErrDigest), exitDamaged},
	} {
		if test.err != nil {
			test.err = fmt.Errorf("docker.io/acme/app:1: %w", test.err)
		}
		if got := exitCode(context.Background(), test.err); got != test.want {
			t.Errorf("%v: %d, want %d", test.err, got, test.want)
		}
	}
}

func TestExitCodesTopicNamesAll(t *testing.T) {
	w := newWorld(t)
	w.expect(t, exitOK, "", "help", "exit-codes")
	for _, row := range exitCodes {
		if !strings.Contains(w.out.String(), fmt.Sprintf("%5d  %s\n", row.code, row.meaning)) {
			t.Errorf("%d is missing", row.code)
		}
	}
}

// The report never goes where something lies that the import reads.
func TestReportSparesWhatIsRead(t *testing.T) {
	w, file, public := exportOne(t)
	volumes := filepath.Join(w.home, "volumes")
	if err := os.Mkdir(volumes, 0o700); err != nil {
		t.Fatal(err)
	}
	w.expect(t, exitOK, "", "split", file, "--volume-size", "64KiB", "-o", filepath.Join(volumes, "a.tar"))
	parts, err := filepath.Glob(volumes + "/a.tar.*")
	if err != nil || len(parts) < 3 {
		t.Fatal(parts, err)
	}
	link := filepath.Join(w.home, "link")
	if err := os.Symlink(file, link); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ source, report string }{{file, file}, {file, link}, {link, file}, {file, public}, {volumes, parts[1]}, {parts[0], parts[2]}} {
		before, err := os.ReadFile(test.report)
		if err != nil {
			t.Fatal(err)
		}
		w.expect(t, exitUsage, "would be overwritten", "import", test.source, "localhost:1/mirror", "--key", public, "--report", test.report)
		if after, err := os.ReadFile(test.report); err != nil || !bytes.Equal(before, after) {
			t.Errorf("%s has changed: %v", test.report, err)
		}
	}
}
