package deploy

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Only the one for Debian is run, by integration/image: the other may differ in nothing but how it installs the package.
func TestUserDataDiffersInThePackageOnly(t *testing.T) {
	rest := func(kin, file, install string) string {
		b, err := os.ReadFile("cloud-init/user-data." + kin + ".yaml")
		if err != nil {
			t.Fatal(err)
		}
		text := string(b)
		for _, own := range []string{file, install} {
			if !strings.Contains(text, own) {
				t.Errorf("the user-data for %s has no %q", kin, own)
			}
			text = strings.ReplaceAll(text, own, "")
		}
		header, body, _ := strings.Cut(text, "\n\n")
		if !strings.HasPrefix(header, "#cloud-config\n") {
			t.Errorf("the user-data for %s begins with %q", kin, header)
		}
		return body
	}
	debian := rest("debian", "credant.deb", "DEBIAN_FRONTEND=noninteractive apt-get install -qq")
	rhel := rest("rhel", "credant.rpm", "dnf install -qy")
	if diff := cmp.Diff(debian, rhel); diff != "" {
		t.Errorf("user-data (-debian +rhel):\n%s", diff)
	}
}

func TestVendorDataIsAScript(t *testing.T) {
	if out, err := exec.Command("sh", "-n", "cloud-init/vendor-data.sh").CombinedOutput(); err != nil {
		t.Errorf("sh -n: %v\n%s", err, out)
	}
}
