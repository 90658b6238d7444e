package gctest

import (
	"os/exec"
	"syscall"
)

// endWithParent ends the process with the test, also if the test is killed or exceeds its time limit.
func endWithParent(process *exec.Cmd) {
	process.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
