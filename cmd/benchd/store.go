package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	api "github.com/benchd/benchd/api/v1alpha1"
	"github.com/benchd/benchd/client"
	"github.com/benchd/benchd/home"
	"github.com/benchd/benchd/store"
)

func newStoreCommand(o *options) *cobra.Command {
	cmd := &cobra.Command{Use: "store", Short: "Look after the store"}
	cmd.AddCommand(&cobra.Command{
		Use:   "backup FILE",
		Short: "Write a consistent copy of the store, while it is in use or not",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			// Written under another name first, so that a copy that broke off is never taken for a backup.
			tmp := args[0] + ".part"
			f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
			if err != nil {
				return fmt.Errorf("back up the store: %w", err)
			}
			n, err := o.backup(cmd, f)
			if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
				return errors.Join(err, os.Remove(tmp))
			}
			if err := os.Rename(tmp, args[0]); err != nil {
				return fmt.Errorf("back up the store: %w", err)
			}
			say(cmd)("%d bytes written to %s; to restore, stop the control plane and put it in the place of benchd.db", n, args[0])
			return nil
		},
	})
	return cmd
}

func (o *options) backup(cmd *cobra.Command, w io.Writer) (int64, error) {
	dir, err := home.Locate(o.home)
	if err != nil {
		return 0, err
	}
	c, err := connect(dir)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	n, err := c.Backup(cmd.Context(), w)
	if !errors.Is(err, client.ErrNoServer) {
		return n, err
	}
	if _, err := os.Stat(dir.Store()); err != nil {
		return 0, fmt.Errorf("back up the store: %w", err)
	}
	st, err := store.Open(dir.Store(), store.Options{Live: api.Live})
	if err != nil {
		return 0, err
	}
	n, err = st.Backup(w)
	return n, errors.Join(err, st.Close())
}
