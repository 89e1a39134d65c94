package main

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

const (
	kib = 1 << 10
	mib = 1 << 20
	gib = 1 << 30
	tib = 1 << 40
)

// parseSize reads a number of bytes with a suffix k, M, G or T (powers of 1024, "iB" may follow).
func parseSize(s string) (int64, error) {
	num, unit := strings.TrimSuffix(strings.TrimSuffix(s, "B"), "i"), int64(1)
	if num != "" {
		if i := strings.IndexByte("kMGT", num[len(num)-1]); i >= 0 {
			num, unit = num[:len(num)-1], 1<<(10*(i+1))
		} else if num[len(num)-1] == 'K' {
			num, unit = num[:len(num)-1], kib
		}
	}
	n, err := strconv.ParseInt(num, 10, 64)
	if err != nil || n < 1 || n > math.MaxInt64/unit {
		return 0, fmt.Errorf("%q is no size: want 4k, 100M, 1G or 1T", s)
	}
	return n * unit, nil
}

// sizeText is n for a person.
func sizeText(n int64) string {
	for _, u := range []struct {
		size int64
		name string
	}{{tib, "TiB"}, {gib, "GiB"}, {mib, "MiB"}, {kib, "KiB"}} {
		if n >= u.size {
			return strings.TrimSuffix(strconv.FormatFloat(float64(n)/float64(u.size), 'f', 1, 64), ".0") + " " + u.name
		}
	}
	return strconv.FormatInt(n, 10) + " B"
}
