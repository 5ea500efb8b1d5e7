package control

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"

	"github.com/credant/credant/discovery/keys"
)

// DeriveCommand is the hidden argument with which the program calls itself to
// derive a key; it leads to DeriveKeyMain.
const DeriveCommand = "derive-key"

// maxPassphrase bounds what is read of a passphrase, in bytes.
const maxPassphrase = 4096

type deriveRequest struct {
	Network    string `json:"network"`
	Passphrase []byte `json:"passphrase"`
}

// deriveInChild lets a child process do the Argon2id derivation: its 64 MiB go
// back to the system with it. The passphrase travels through a pipe, so that
// no argument list or environment shows it.
func deriveInChild(ctx context.Context, passphrase []byte, network string) (keys.NetworkKey, error) {
	self, err := os.Executable()
	if err != nil {
		return keys.NetworkKey{}, fmt.Errorf("find the own program to derive the key: %w", err)
	}
	in, err := json.Marshal(deriveRequest{Network: network, Passphrase: passphrase})
	if err != nil {
		return keys.NetworkKey{}, err
	}
	cmd := exec.CommandContext(ctx, self, DeriveCommand)
	cmd.Stdin = bytes.NewReader(in)
	cmd.Env = []string{}
	var out, complaint bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &complaint
	if err := cmd.Run(); err != nil {
		if text := strings.TrimSpace(complaint.String()); text != "" {
			return keys.NetworkKey{}, fmt.Errorf("derive the network key: %s", text)
		}
		return keys.NetworkKey{}, fmt.Errorf("derive the network key: %w", err)
	}
	raw, err := base64.StdEncoding.DecodeString(strings.TrimSpace(out.String()))
	if err != nil {
		return keys.NetworkKey{}, fmt.Errorf("derive the network key: %w", err)
	}
	return keys.ParseNetworkKey(raw)
}

// DeriveKeyMain is the body of the child process: a request on stdin, the key
// as one line of base64 on stdout.
func DeriveKeyMain(stdin io.Reader, stdout io.Writer) error {
	var req deriveRequest
	if err := json.NewDecoder(io.LimitReader(stdin, 4*maxPassphrase)).Decode(&req); err != nil {
		return fmt.Errorf("read the request: %w", err)
	}
	normalized, err := keys.NormalizePassphrase(req.Passphrase)
	if err != nil {
		return err
	}
	k, err := keys.DeriveNetworkKey(normalized, req.Network)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(stdout, base64.StdEncoding.EncodeToString(k.Bytes()))
	return err
}
