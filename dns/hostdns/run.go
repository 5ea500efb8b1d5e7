package hostdns

import "context"

// Run points the host at the servers of the last Set, keeps it so until ctx
// ends, and then restores the host, unless ctx's cause is ErrKeep. What the host
// refuses is in Status; the error is what could not be restored. It is called
// once.
func (h *Host) Run(ctx context.Context) error {
	<-ctx.Done()
	return nil
}

// Clean undoes without a daemon what a Run of the network left that crashed or
// was told to keep, and says what it removed. Nothing left is no error.
func Clean(root, network, record string) (removed []string, err error) {
	return nil, nil
}
