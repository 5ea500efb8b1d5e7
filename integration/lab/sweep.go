package lab

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// Programs that a node's program left in the background, such as a daemon, are not our children: they are found by
// the network namespace they are in, or, after a crash of their lab, by a mark in their environment.

const ownerVariable = "CREDANT_LAB_OWNER"

// ownerMark names this process so that no later process of the same number can be taken for it.
func ownerMark() string {
	pid := os.Getpid()
	start, _ := startTime(pid)
	return fmt.Sprintf("%s=%d-%s", ownerVariable, pid, start)
}

// startTime is field 22 of proc(5)'s stat.
func startTime(pid int) (string, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return "", err
	}
	// The second field, the name, may hold anything but ends with the last parenthesis.
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(fields) < 20 {
		return "", fmt.Errorf("read start of process %d: %q", pid, stat)
	}
	return fields[19], nil
}

// ended tells whether the process that started then is no more. What cannot be read proves nothing.
func ended(pid int, start string) bool {
	now, err := startTime(pid)
	if err != nil {
		return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH)
	}
	return now != start
}

// sweep ends what labs of dead processes have left running.
func sweep() error {
	return eachProcess(func(pid int) {
		environ, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
		if err != nil {
			return
		}
		// Each word ends with a zero byte; one that does not was not read to its end.
		for word := range bytes.SplitAfterSeq(environ, []byte{0}) {
			mark, ok := bytes.CutPrefix(word, []byte(ownerVariable+"="))
			mark, whole := bytes.CutSuffix(mark, []byte{0})
			if !ok || !whole {
				continue
			}
			owner, start, _ := strings.Cut(string(mark), "-")
			if n, err := strconv.Atoi(owner); err == nil && ended(n, start) {
				_ = syscall.Kill(pid, syscall.SIGKILL)
			}
		}
	})
}

// killStrays ends every process in the nodes' network namespaces.
func killStrays(nodes []*Node) error {
	var ours []string
	for _, n := range nodes {
		if n.netns < 0 {
			continue
		}
		name, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", n.netns))
		if err != nil {
			return fmt.Errorf("find namespace of %s: %w", n.Name, err)
		}
		ours = append(ours, name)
	}
	return eachProcess(func(pid int) {
		name, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/net", pid))
		if err == nil && slices.Contains(ours, name) && pid != os.Getpid() {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	})
}

func eachProcess(visit func(pid int)) error {
	found, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return fmt.Errorf("list processes: %w", err)
	}
	for _, dir := range found {
		if pid, err := strconv.Atoi(filepath.Base(dir)); err == nil {
			visit(pid)
		}
	}
	return nil
}
