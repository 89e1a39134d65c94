package cli

import (
	"strings"
	"testing"
)

func TestCheckRights(t *testing.T) {
	for in, ok := range map[string]bool{
		"get": true, "get put": true, "all": true, "append": true, "special-modes": true, "all special-modes": true,
		"special-modes write-only": true, "put special-modes mkdir": true,
		"": false, "read": false, "all get": false, "append write-only": false, "all special-modes get": false, "all all": false,
	} {
		if err := checkRights(strings.Fields(in)); (err == nil) != ok {
			t.Errorf("%q: %v", in, err)
		}
	}
}
