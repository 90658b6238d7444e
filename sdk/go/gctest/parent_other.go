//go:build !linux

package gctest

import "os/exec"

// endWithParent has no effect: only Linux can end a process with its parent.
func endWithParent(*exec.Cmd) {}
