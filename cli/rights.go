package cli

import (
	"fmt"
	"slices"
)

// checkRights checks the words of a right before they are written anywhere. What they grant is the daemon's business.
func checkRights(words []string) error {
	alone := []string{"all", "append", "write-only"}
	single := []string{"get", "put", "list", "stat", "mkdir", "delete", "rename"}
	if len(words) == 0 {
		return fmt.Errorf("no rights: want words of get put list stat mkdir delete rename, or all, append, write-only")
	}
	for _, w := range words {
		switch {
		case slices.Contains(alone, w):
			if len(words) > 1 {
				return fmt.Errorf("%s stands alone", w)
			}
		case !slices.Contains(single, w):
			return fmt.Errorf("%s is no right: want words of get put list stat mkdir delete rename, or all, append, write-only", quote(w))
		}
	}
	return nil
}
