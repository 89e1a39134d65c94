package sink

import (
	"os"

	"golang.org/x/sys/unix"
)

// privileges tells whether the process may give files away, and set attributes that only the administration may.
func privileges() (chown, admin bool) {
	var data [2]unix.CapUserData // version 3 writes two
	err := unix.Capget(&unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}, &data[0])
	if err != nil {
		root := os.Geteuid() == 0
		return root, root
	}
	has := func(capability uint) bool { return data[capability/32].Effective&(1<<(capability%32)) != 0 }
	return has(unix.CAP_CHOWN), has(unix.CAP_SYS_ADMIN)
}
