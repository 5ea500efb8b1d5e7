package wgsetup

import (
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/credant/credant/wgsetup/internal/nstest"
)

// Each reason is one line that says what would do.
func TestCheckSaysWhatWouldDo(t *testing.T) {
	if os.Geteuid() != 0 {
		nstest.Skip(t, "becoming another user needs root")
	}
	tests := map[string]struct {
		attr    syscall.SysProcAttr
		backend Backend
		want    string
	}{
		"not root": {
			attr: syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}},
			want: "sudo",
		},
		"root of a container without CAP_NET_ADMIN": {
			// In a user namespace, root is root of the namespace only.
			attr: syscall.SysProcAttr{
				Cloneflags:  syscall.CLONE_NEWUSER,
				UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: 0, Size: 1}},
				GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: 0, Size: 1}},
			},
			want: "--cap-add NET_ADMIN",
		},
		"unknown backend": {backend: "userspace", want: "auto, kernel or embedded"},
		"embedded":        {backend: Embedded, want: "<nil>"},
		"auto":            {backend: Auto, want: "<nil>"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if test.backend == "" {
				test.backend = Auto
			}
			c := exec.Command("/proc/self/exe")
			c.Env = append(os.Environ(), checkEnv+"="+string(test.backend))
			c.SysProcAttr = &test.attr
			out, err := c.CombinedOutput()
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			if got := string(out); !strings.Contains(got, test.want) || strings.Contains(got, "\n") {
				t.Errorf("%q does not say %q in one line", got, test.want)
			}
		})
	}
}

func TestCheckOfTheKernel(t *testing.T) {
	err := Check(Kernel)
	if os.Getenv("CREDANT_TEST_KERNEL") != "" {
		if err != nil {
			t.Error(err)
		}
		return
	}
	if err != nil && !strings.Contains(err.Error(), "modprobe wireguard") {
		t.Error(err)
	}
}
