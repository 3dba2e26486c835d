package main

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// showInBrowser shows a file in the user's browser. Where there is none, as on a login node, it says where the file is and how to get it.
func showInBrowser(ctx context.Context, say func(string, ...any), path string) error {
	path, err := filepath.Abs(path)
	if err != nil {
		return fmt.Errorf("find the report: %w", err)
	}
	args := browser(path)
	if args == nil {
		say("the report is in %s\nThere is no display here. From where there is one, fetch it: scp %s .", path, remote(path))
		return nil
	}
	if err := launch(ctx, args); err != nil {
		say("the report is in %s\n%s could not show it: %v", path, args[0], err)
		return nil
	}
	say("the report is in %s, shown by %s", path, args[0])
	return nil
}

// browser is the command that shows a file: $BROWSER, which may name several to be tried in turn, %s standing for the file; else what the
// system has for it. Nil where there is no display.
func browser(path string) []string {
	for _, choice := range filepath.SplitList(os.Getenv("BROWSER")) {
		args := strings.Fields(choice)
		if len(args) == 0 {
			continue
		}
		if _, err := exec.LookPath(args[0]); err != nil {
			continue
		}
		if !strings.Contains(choice, "%s") {
			return append(args, path)
		}
		for i := range args {
			args[i] = strings.ReplaceAll(args[i], "%s", path)
		}
		return args
	}
	opener := "xdg-open"
	switch {
	case runtime.GOOS == "darwin":
		opener = "open"
	case os.Getenv("DISPLAY") == "" && os.Getenv("WAYLAND_DISPLAY") == "":
		return nil
	}
	if _, err := exec.LookPath(opener); err != nil {
		return nil
	}
	return []string{opener, path}
}

// soon is within what a command that cannot show a file says so. One that shows it itself goes on running.
const soon = 3 * time.Second

// launch starts a command that outlives this one.
func launch(ctx context.Context, args []string) error {
	cmd := exec.Command(args[0], args[1:]...) //nolint:gosec // the user's own choice of a browser
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case err := <-ended:
		return err
	case <-time.After(soon):
	case <-ctx.Done():
	}
	return nil
}

// remote is the file as scp names it from elsewhere.
func remote(path string) string {
	host, err := os.Hostname()
	if err != nil {
		host = "HOST"
	}
	if u, err := user.Current(); err == nil {
		host = cmp.Or(u.Username, "USER") + "@" + host
	}
	return quoteWords([]string{host + ":" + path})
}
