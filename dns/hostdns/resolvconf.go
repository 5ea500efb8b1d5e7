package hostdns

import (
	"context"
	"errors"
	"net/netip"
	"os/exec"
	"strings"
)

// resolvconfName is our name among those that resolvconf has servers of. With
// "vpn" in front, all flavours put it before the uplinks'.
func resolvconfName(iface string) string { return "vpn." + iface }

// resolvconfText is what resolvconf is told, in the form of resolv.conf(5). All
// zones in the search list would be tried for every name, so only the one with
// names is told.
func resolvconfText(domain string, servers []netip.AddrPort) string {
	var b strings.Builder
	for _, s := range servers {
		b.WriteString("nameserver " + s.Addr().String() + "\n")
	}
	b.WriteString("search " + domain + "\n")
	return b.String()
}

// applyResolvconf tells resolvconf our servers, unless it has them.
func applyResolvconf(ctx context.Context, root, name, text string, first bool) (changed bool, err error) {
	have, err := listResolvconf(ctx, root, name)
	if err != nil {
		return false, err
	}
	if have == strings.TrimSpace(text) {
		return false, nil
	}
	args := []string{"-a", name}
	if !first {
		// Private: these servers are asked for their search domains only.
		// Never exclusive (-x): that would drop all other servers.
		args = append(args, "-p")
	}
	_, err = runHost(ctx, root, []byte(text), "resolvconf", args...)
	return err == nil, err
}

// undoResolvconf takes our servers from resolvconf. A host that lost the program
// since has nothing to undo.
func undoResolvconf(ctx context.Context, root, name string) (changed bool, err error) {
	have, err := listResolvconf(ctx, root, name)
	if errors.Is(err, exec.ErrNotFound) {
		return false, nil
	}
	if err != nil || have == "" {
		return false, err
	}
	_, err = runHost(ctx, root, nil, "resolvconf", "-d", name)
	return err == nil, err
}

// listResolvconf is what resolvconf has under the name. Debian's lists all.
func listResolvconf(ctx context.Context, root, name string) (string, error) {
	out, err := runHost(ctx, root, nil, "resolvconf", "-l")
	if err != nil && strings.Contains(out, "resolv.conf from") {
		err = nil
	}
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) && strings.TrimSpace(out) == "" {
			return "", nil // openresolv's way to say that there is nothing
		}
		return "", err
	}
	var mine []string
	inside := false
	for line := range strings.Lines(out) {
		line = strings.TrimSpace(line)
		if of, ok := strings.CutPrefix(line, "# resolv.conf from "); ok {
			inside = of == name
			continue
		}
		if inside && line != "" {
			mine = append(mine, line)
		}
	}
	return strings.Join(mine, "\n"), nil
}
