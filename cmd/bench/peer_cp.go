package main

import (
	"context"
	"os/exec"
)

// cpReceiver is no network at all, for comparison.
type cpReceiver struct{ b *bench }

func (b *bench) cpContender() *contender {
	return &contender{why: installed("cp"), forks: true, open: func(context.Context, *site) (receiver, error) {
		return cpReceiver{b}, nil
	}}
}

func (r cpReceiver) command(ctx context.Context, t task) pipeline {
	cmd := exec.CommandContext(ctx, "cp", "-a", t.src, t.dir+"/")
	cmd.Env = r.b.env()
	return pipeline{cmd}
}

func (cpReceiver) servers() []int { return nil }
func (cpReceiver) close()         {}
