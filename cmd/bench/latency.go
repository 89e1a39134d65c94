package main

import "context"

// roundsOfLatency: a run is short, so there are more of them in a pair.
const roundsOfLatency = 4

// latency is the whole command for one byte, host enrolled.
func (b *bench) latency(ctx context.Context) error {
	src, err := b.oneByte()
	if err != nil {
		return err
	}
	return b.race(ctx, race{
		res:    &result{Workload: "latency", FS: tmpfs, Bytes: 1, Files: 1},
		field:  b.field(bareTLS, bareQUIC, scpOwn, scpAES, rsyncSSH, rsyncDaemon, rsyncTLS, cpLocal),
		src:    src,
		rounds: roundsOfLatency * b.Pairs,
	})
}
