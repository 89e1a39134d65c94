package transport

import "runtime"

const linux = runtime.GOOS == "linux"
