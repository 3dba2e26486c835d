package main

import (
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/benchd/benchd/home"
)

// TestScripts walks through the verbs as a user would; testdata/script holds a story each. UPDATE=1 rewrites what they
// expect.
func TestScripts(t *testing.T) {
	t.Parallel()
	bin := t.TempDir()
	if err := os.Symlink(testBinary(t), filepath.Join(bin, "benchd")); err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script", RequireExplicitExec: true, RequireUniqueNames: true, UpdateScripts: os.Getenv("UPDATE") != "",
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"waitfor": waitForAnswer},
		Setup: func(env *testscript.Env) error {
			dir, err := os.MkdirTemp("", "bt")
			if err != nil {
				return err
			}
			env.Setenv("PATH", bin+string(os.PathListSeparator)+env.Getenv("PATH"))
			env.Setenv("BENCHD_HOME", dir)
			env.Setenv(raceVariable, os.Getenv(raceVariable))
			env.Defer(func() {
				stopPlane(t, home.Dir(dir))
				_ = os.RemoveAll(dir)
			})
			return nil
		},
	})
}

// waitForAnswer waits until a server answers: waitfor URL.
func waitForAnswer(ts *testscript.TestScript, _ bool, args []string) {
	client := http.Client{Timeout: time.Second}
	defer client.CloseIdleConnections()
	for range 500 {
		resp, err := client.Get(args[0])
		if err == nil {
			_ = resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return
			}
		}
		<-time.After(20 * time.Millisecond)
	}
	ts.Fatalf("%s does not answer", args[0])
}

// stopPlane ends the control plane that a script started in the background, by the id that it left.
func stopPlane(t *testing.T, dir home.Dir) {
	owner, err := dir.Owner()
	if err != nil || owner.PID == 0 || !owner.Alive() {
		return
	}
	if err := syscall.Kill(owner.PID, syscall.SIGTERM); err != nil {
		t.Errorf("end the control plane of %s: %v", dir, err)
	}
	for range 500 {
		if !owner.Alive() {
			break
		}
		<-time.After(20 * time.Millisecond)
	}
	p := &plane{t: t, home: dir}
	p.assertNothingLeft()
}
