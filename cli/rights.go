package cli

import (
	"fmt"
	"slices"
)

// checkRights checks the words of a right before they are written anywhere. What they grant is the daemon's business.
func checkRights(words []string) error {
	const special = "special-modes" // the only one that may stand beside those that stand alone
	const known = "want words of get put list stat mkdir delete rename, or all, append, write-only; and special-modes"
	alone := []string{"all", "append", "write-only"}
	single := []string{"get", "put", "list", "stat", "mkdir", "delete", "rename", special}
	if len(words) == 0 {
		return fmt.Errorf("no rights: %s", known)
	}
	for i, w := range words {
		switch {
		case slices.Contains(alone, w):
			others := slices.Concat(words[:i], words[i+1:])
			if slices.ContainsFunc(others, func(o string) bool { return o != special }) {
				return fmt.Errorf("%s stands alone", w)
			}
		case !slices.Contains(single, w):
			return fmt.Errorf("%s is no right: %s", quote(w), known)
		}
	}
	return nil
}
