package terminal

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Bytes writes a number of bytes in the binary units in which disks and registries count: "812 B", "4.3 KiB",
// "120 MiB".
func Bytes(n int64) string {
	if n < 1024 && n > -1024 {
		return fmt.Sprintf("%d B", n)
	}
	value := float64(n)
	for _, unit := range []string{"KiB", "MiB", "GiB", "TiB", "PiB"} {
		value /= 1024
		// Below the point where rounding to whole units would show "1024 MiB".
		if value < 1023.5 && value > -1023.5 {
			return scaled(value) + " " + unit
		}
	}
	return scaled(value/1024) + " EiB"
}

// scaled keeps two or more significant digits.
func scaled(value float64) string {
	if value < 9.95 && value > -9.95 {
		return fmt.Sprintf("%.1f", value)
	}
	return fmt.Sprintf("%.0f", value)
}

// Rate writes n bytes in d as bytes per second. No time at all gives "", as there is nothing to say.
func Rate(n int64, d time.Duration) string {
	if d <= 0 {
		return ""
	}
	return Bytes(int64(float64(n)/d.Seconds())) + "/s"
}

// Duration writes a duration as a person would: whole seconds from ten seconds on, tenths of a second from one.
func Duration(d time.Duration) string {
	switch {
	case d < time.Second:
		return d.Round(time.Millisecond).String()
	case d < 10*time.Second:
		return d.Round(100 * time.Millisecond).String()
	}
	return d.Round(time.Second).String()
}

func plural(noun string) string {
	if stem, ok := strings.CutSuffix(noun, "y"); ok {
		return stem + "ies"
	}
	return noun + "s"
}

// Count returns a number with its noun, as in "1 image" "2 images" or "2 repositories".
func Count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return strconv.Itoa(n) + " " + plural(noun)
}
