package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"

	"github.com/spf13/cobra"

	"airgap/bundle"
	"airgap/bundle/ledger"
	"airgap/bundle/platform"
	"airgap/bundle/volume"
	"airgap/cmd/airgap/app"
	"airgap/export"
	"airgap/export/config"
	"airgap/export/mirror"
	"airgap/export/registry"
	"airgap/import/finding"
	"airgap/import/placing"
	"airgap/import/prune"
	"airgap/import/readback"
	"airgap/import/record"
	"airgap/import/report"
	"airgap/import/rollback"
	"airgap/import/stranded"
	"airgap/import/target"
	"airgap/import/transfer"
	"airgap/verify"
	"airgap/verify/approval"
	"airgap/verify/judge"
	"airgap/verify/policy"
	"airgap/verify/proof"
	"airgap/verify/signature"
)

// The exit codes. Scripts rely on them: a number never changes its meaning.
const (
	exitOK           = 0
	exitFailure      = 1
	exitUsage        = 2
	exitDamaged      = 3
	exitUntrusted    = 4
	exitUnreachable  = 5
	exitUnauthorized = 6
	exitMissing      = 7
	exitConflict     = 8
	exitDiffers      = 9
	exitIncomplete   = 10
	exitPreflight    = 11
	exitUnchecked    = 12
	exitReplay       = 13
	exitStranded     = 14
	exitFails        = 15
	exitUnapproved   = 16
	exitInterrupted  = 130 // 128 + SIGINT, as shells have it
)

// exitCodes leads from errors to exit codes: the first row that matches counts, so that what is particular comes
// before what is general. It is also what "airgap help exit-codes" shows, in the order of the numbers.
var exitCodes = []struct {
	code    int
	meaning string
	matches func(error) bool // nil: see exitCode
}{
	{exitOK, "all went well", nil},
	{exitFailure, "a failure that has no code of its own, such as a full disk", nil},
	{exitUsage, "the command line, or a file that it names, is wrong or not there; nothing was done", isUsage},
	{exitIncomplete, "the bundle was written without images that could not be had (--keep-going)", anyOf(errMissing)},
	{exitReplay, "an older bundle than was imported before, another one under its number, too old, or of another mirror", anyOf(record.ErrOlder, record.ErrOther, verify.ErrTooOld, record.ErrMirror)},
	{exitPreflight, "the preflight found something in the way; nothing was written", anyOf(finding.ErrBlocked)},
	{exitStranded, "the target lacks what the bundle stands on (see --want); nothing was written", anyOf(stranded.ErrStranded)},
	{exitFails, "an image fails the policy; nothing was written", anyOf(judge.ErrPolicy)},
	{exitDamaged, "damaged: no bundle, or not all volumes of one, or content of it or from a registry is not what it should be", anyOf(bundle.ErrFormat, bundle.ErrDigest, bundle.ErrLimit, export.ErrSubject, verify.ErrLayer, volume.ErrVolumes)},
	{exitUntrusted, "no trusted key signed this bundle, or too few did", anyOf(signature.ErrUntrustedKey, signature.ErrMissing, signature.ErrMalformed,
		signature.ErrWrongPredicate, signature.ErrWrongSubject, proof.ErrRevoked, verify.ErrScope, verify.ErrThreshold, prune.ErrDoubtful)},
	{exitUnapproved, "approvals that the policy asks for are missing; nothing was written", anyOf(approval.ErrMissing)},
	{exitUnchecked, "everything was written, and some of it could not be read back", anyOf(readback.ErrUnchecked)},
	{exitUnauthorized, "a registry refused the credentials, or the right to do this", anyOf(registry.ErrUnauthorized, registry.ErrForbidden)},
	{exitMissing, "something that was asked for is not there: an image, its referrers, or a record", anyOf(registry.ErrNotFound, registry.ErrRepositoryUnknown, export.ErrNoReferrers, platform.ErrPlatform, export.ErrNothing, export.ErrGone,
		errNothingRecorded, errNoEntry, prune.ErrNothingKnown)},
	{exitConflict, "the target has something else under that name or does not take what is brought, or two images would get one name", anyOf(bundle.ErrCollision, placing.ErrCollision, target.ErrConflict, transfer.ErrSparse, transfer.ErrRefused)},
	{exitDiffers, "what was read back from the target is not what was written, or a rollback or prune was not completed", anyOf(target.ErrDiffers, rollback.ErrNotRolledBack, prune.ErrNotPruned)},
	{exitUnreachable, "a registry could not be reached, or kept failing", isNetwork},
	{exitInterrupted, "interrupted; nothing looks finished that is not, and the command can be run again", nil},
}

// exitCode returns the code for an error. After an interruption all errors count as its consequences.
func exitCode(ctx context.Context, err error) int {
	if err == nil {
		return exitOK
	}
	if errors.Is(err, context.Canceled) || ctx.Err() != nil {
		return exitInterrupted
	}
	for _, row := range exitCodes {
		if row.matches != nil && row.matches(err) {
			return row.code
		}
	}
	return exitFailure
}

// isUsage matches errors in arguments, also those that a package finds.
func isUsage(err error) bool {
	return isA[app.UsageError](err) || anyOf(export.ErrReference, signature.ErrKey, config.ErrConfig, policy.ErrPolicy, placing.ErrMapping, report.ErrReport, verify.ErrNoKey, verify.ErrBase,
		verify.ErrLacking, mirror.ErrBase, mirror.ErrUnknown, ledger.ErrReceipt, ledger.ErrWant)(err)
}

// anyOf matches errors that wrap one of the sentinels.
func anyOf(sentinels ...error) func(error) bool {
	return func(err error) bool {
		for _, sentinel := range sentinels {
			if errors.Is(err, sentinel) {
				return true
			}
		}
		return false
	}
}

// isA matches errors that wrap one of type T.
func isA[T error](err error) bool {
	var target T
	return errors.As(err, &target)
}

// isNetwork matches errors that come from the network. It does not ask for net.Error: a full disk is one, too, as
// syscall.Errno has its methods.
func isNetwork(err error) bool {
	return anyOf(registry.ErrUnavailable, registry.ErrThrottled)(err) ||
		isA[*url.Error](err) || isA[*net.OpError](err) || isA[*net.DNSError](err) || isA[*tls.CertificateVerificationError](err)
}

func exitCodesTopic() *cobra.Command {
	var b strings.Builder
	b.WriteString("What the exit codes of airgap mean:\n\n")
	for code := exitOK; code <= exitInterrupted; code++ {
		for _, row := range exitCodes {
			if row.code == code {
				fmt.Fprintf(&b, "%5d  %s\n", row.code, row.meaning)
			}
		}
	}
	b.WriteString("\nErrors go to standard error, results to standard output.")
	return &cobra.Command{Use: "exit-codes", Short: "What the exit codes mean", Long: b.String()}
}
