package main

import (
	"os/exec"
	"syscall"
)

// endWithParent ends the process with the suite, also if the suite is killed.
func endWithParent(process *exec.Cmd) {
	if process.SysProcAttr == nil {
		process.SysProcAttr = &syscall.SysProcAttr{}
	}
	process.SysProcAttr.Pdeathsig = syscall.SIGKILL
}
