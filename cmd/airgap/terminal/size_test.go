package terminal

import (
	"testing"
	"time"
)

func TestBytes(t *testing.T) {
	for n, want := range map[int64]string{
		0: "0 B", 812: "812 B", 1023: "1023 B", 1024: "1.0 KiB", 4400: "4.3 KiB", 1023 << 10: "1023 KiB",
		1<<20 - 1: "1.0 MiB", 120 << 20: "120 MiB", 3 << 30: "3.0 GiB", 1<<63 - 1: "8.0 EiB", -2048: "-2.0 KiB",
	} {
		if got := Bytes(n); got != want {
			t.Errorf("Bytes(%d) = %q, want %q", n, got, want)
		}
	}
}

func TestRate(t *testing.T) {
	if got := Rate(10<<20, 2*time.Second); got != "5.0 MiB/s" {
		t.Errorf("got %q", got)
	}
	if got := Rate(10, 0); got != "" {
		t.Errorf("no time gave %q", got)
	}
}

func TestDuration(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0s", 1234567 * time.Nanosecond: "1ms", 1234 * time.Millisecond: "1.2s",
		12345 * time.Millisecond: "12s", 61*time.Minute + 400*time.Millisecond: "1h1m0s",
	} {
		if got := Duration(d); got != want {
			t.Errorf("Duration(%d) = %q, want %q", d, got, want)
		}
	}
}

func TestCount(t *testing.T) {
	for n, want := range map[int]string{0: "0 blobs", 1: "1 blob", 2: "2 blobs"} {
		if got := Count(n, "blob"); got != want {
			t.Errorf("%d: %s, want %s", n, got, want)
		}
	}
}
